"""Which runs of a repository are in use: by their locks, by processes of this machine, and by SLURM's queue.

A run is all that a stage with one key leaves under `.d2it/`, by the name `<stage>-<16 digits of the key>`: the ledger's
entry, checkpoints, logs and locks. What is not known to be over counts as in use.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from slurm.ledger import Entry, entry_of
from slurm.queue import ask
from slurm.states import OVER, look_up


@contextmanager
def hold(locks: Iterable[Path], *, make: bool) -> Iterator[bool]:
    """Hold locks, shared ones of others included, without waiting; yields whether it got all of them.

    Args:
        locks: their files.
        make: make those that are missing, so that nobody takes them meanwhile; else they are left out.
    """
    with ExitStack() as stack:
        yield all(_take(path, stack, make) for path in locks)


def _take(path: Path, stack: ExitStack, make: bool) -> bool:
    """Without pipeline/lock.py, which makes the file: to look changes nothing."""
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o644)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_nlink > 0  # else it was removed meanwhile, and locks nothing
    except FileNotFoundError:
        return True
    except OSError:  # held; or a file system without locks, or a file of another user: nobody knows
        return False


class Jobs:
    """The jobs of a repository, as they are when this object is made: SLURM is asked once, and not at all without it.

    A job on another machine that is no job of SLURM is known by its locks alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._has_slurm = shutil.which("squeue") is not None
        self._queue = ask().jobs if self._has_slurm else None
        self._commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]

    def why_in_use(self, name: str) -> str:
        """Why the run `name` is in use, or may be; empty if all its jobs are over."""
        entry = entry_of(self._root, name)
        for job_id, job in (self._queue or {}).items():
            if Path(job.folder) == entry.tree and job.state not in OVER:
                return f"job {job_id} is {job.state}"
        if any("slurm.worker" in command and str(entry.folder) in command for command in self._commands):
            return "its job runs on this machine"
        return self._why_by_record(entry) if entry.folder.exists() else ""

    def _why_by_record(self, entry: Entry) -> str:
        """For an entry of the ledger: an entry that has no job in sight may still have one."""
        record = entry.recall() or {}
        job_id = str(record.get("id", ""))
        if record.get("target") == "local" or not (job_id or self._has_slurm):
            return ""  # local jobs without a record end themselves
        named = f"job {job_id}" if job_id else "a job"
        if not self._has_slurm:
            return f"{named} may be queued or run: there is no squeue on PATH to ask"
        if self._queue is None:
            return f"{named} may be queued or run: SLURM does not answer"
        if entry.folder.stat().st_uid != os.geteuid():
            return f"{named} may be queued or run: it is another user's"
        if not job_id:
            return ""
        if job_id in self._queue:
            state = self._queue[job_id].state
            return "" if state in OVER else f"job {job_id} is {state}"
        return _why_unlisted(job_id)


def _why_unlisted(job_id: str) -> str:
    """The same for a job that squeue does not list."""
    known = look_up(job_id)
    if known is None:
        return f"job {job_id} is unknown: SLURM does not answer"
    return "" if known == "forgotten" or known.is_over else f"job {job_id} is {known.state}"
