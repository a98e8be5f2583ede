"""A stage runs once at a time in a workspace: a launcher that was killed may have left its job running."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import StageError


@contextmanager
def alone(root: Path, stage: str) -> Iterator[None]:
    """Hold the lock of `stage` in the current folder, the workspace; the system frees it however the process ends.

    Raises:
        StageError: another process runs this stage here; nothing of its outputs has been touched.
    """
    workspace = hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:16]
    path = root / ".d2it" / "locks" / f"{stage}-{workspace}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(
                f"{stage}: runs already in {Path.cwd()}; wait for it, or end that job, and ask again"
            ) from None
        yield
