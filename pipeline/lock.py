"""Locks between processes and machines, on files in `.d2it/`; the system frees them however their holder ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import StageError

PATIENCE_SECONDS = 180.0  # an older start of the same job ends itself; a file system frees a dead node's locks


@contextmanager
def locked(path: Path, *, seconds: float, refusal: str) -> Iterator[None]:
    """Hold the lock `path`; its folder is made if need be.

    Raises:
        StageError: another process has held it for `seconds`; the message is `refusal`.
        OSError: the file system has no locks, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A soft lock, for file systems without flock, would outlive a killed holder: there, OSError.
        with FileLock(path, timeout=seconds, poll_interval=0.1, is_singleton=False, fallback_to_soft=False):
            yield
    except Timeout:
        raise StageError(refusal) from None


@contextmanager
def alone(root: Path, stage: str, key: str, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock of `stage` with `key`: a stage runs once at a time, though a job that was given up may still live.

    Raises:
        StageError: another process has held it for `patience` seconds; nothing has been touched.
    """
    path = root / ".d2it" / "locks" / f"{stage}-{key[:16]}.runs"
    refusal = f"{stage}: runs already, in another process that holds {path}; wait for it, or end it"
    with locked(path, seconds=patience, refusal=refusal):
        yield
