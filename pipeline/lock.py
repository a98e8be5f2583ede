"""Locks between processes and machines, on files in `.d2it/`; the system frees them however their holder ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from pipeline.errors import StageError

PATIENCE_SECONDS = 180.0  # an older start of the same job ends itself; a file system frees a dead node's locks
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


@contextmanager
def locked(path: Path, *, seconds: float, refusal: str) -> Iterator[None]:
    """Hold the lock `path`; its folder is made if need be.

    Raises:
        StageError: another process has held it for `seconds`, and the message is `refusal`; or the file system has no
            locks.
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A soft lock, for file systems without flock, would outlive a killed holder.
    lock = FileLock(path, timeout=seconds, poll_interval=0.1, is_singleton=False, fallback_to_soft=False)
    try:
        with refusing_no_locks(path):
            lock.acquire()
    except Timeout:
        raise StageError(refusal) from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class SharedLock:
    """A lock that others may hold as well."""

    file: IO[str]

    def is_only(self) -> bool:
        """Whether nobody else holds it; it is then no longer shared."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self.file, fcntl.LOCK_SH)  # a refused change of its kind has freed it
            return False
        return True


@contextmanager
def shared(path: Path) -> Iterator[SharedLock]:
    """Hold the lock `path` with any number of others; filelock has none of this kind on network file systems.

    Raises:
        StageError: the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+") as file:  # to read it too: NFSv4 asks for that
            with refusing_no_locks(path):
                fcntl.flock(file, fcntl.LOCK_SH)
            if not os.fstat(file.fileno()).st_nlink:
                continue  # removed meanwhile, as by `python -m slurm clean`: it locks nothing
            yield SharedLock(file)
            return


@contextmanager
def refusing_no_locks(path: Path) -> Iterator[None]:
    """Around the taking of a lock.

    Raises:
        StageError: the file system of `path` has no locks.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise StageError(
            f"{path}: the file system has no locks ({error.strerror}): mount it with them (Lustre: flock; NFS: a lock "
            "manager that runs, or version 4), or clone the repository to another; python -m slurm doctor"
        ) from None


@contextmanager
def alone(root: Path, stage: str, key: str, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock of `stage` with `key`: a stage runs once at a time, though a job that was given up may still live.

    Raises:
        StageError: another process has held it for `patience` seconds; nothing has been touched.
    """
    path = root / ".d2it" / "locks" / f"{stage}-{key[:16]}.runs"
    refusal = (
        f"{stage}: runs already, in another process that holds {path}: wait for it, or end it; if its node is dead and "
        "the file server keeps its lock, remove the file"
    )
    with locked(path, seconds=patience, refusal=refusal):
        yield
