"""A stage with one key runs once at a time: a job that was given up may still be alive on some node."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import StageError

PATIENCE_SECONDS = 180.0  # an older start of the same job ends itself; a file system frees a dead node's locks


@contextmanager
def alone(root: Path, stage: str, key: str, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock of `stage` with `key`, whose checkpoints are shared; the system frees it however the process ends.

    Raises:
        StageError: another process has held it for `patience` seconds; nothing has been touched.
    """
    path = root / ".d2it" / "locks" / f"{stage}-{key[:16]}.runs"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StageError(
                        f"{stage}: runs already, in another process that holds {path}; wait for it, or end it"
                    ) from None
                time.sleep(0.2)
        yield
