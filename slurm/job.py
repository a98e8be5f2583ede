"""A job as its launcher sees it: how to poll it and stop it, and the small files that it leaves."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Job(Protocol):
    """A submitted job, seen from the machine that waits for it."""

    id: str
    state: str  # a few words to show

    def poll(self) -> int | None:
        """Exit code, 128 + n for a job that signal n ended; None while it is queued or runs. Never blocks long."""

    def poll_now(self, check: Callable[[], None]) -> int | None:
        """As `poll`, but from a new query, and waits a bounded time for the exit code of a job that has ended.

        `check` raises what should end the waiting early.
        """

    def record(self) -> dict[str, Any]:
        """JSON from which another launcher makes this object again, with its `target`."""

    def stop(self, hurried: Callable[[], bool]) -> None:
        """End the job: ask, wait a bounded time or until `hurried`, then force. Returns when it has ended."""

    def cancel(self) -> None:
        """End what may be left of a job whose result has been taken."""


@dataclass(frozen=True)
class Files:
    """The files of a job, in folders that all its nodes see, for the launchers that wait for it."""

    folder: Path
    logs: Path  # `<job id>_<rank>_log.out` holds stdout and stderr of a rank; submitit's names

    @property
    def progress(self) -> Path:
        """The state of the progress bar, by d2it/progress.py."""
        return self.folder / "progress"

    @property
    def failures(self) -> Path:
        """Rank and exit code of each rank that failed by itself, one line per rank; the first line is the cause."""
        return self.folder / "failures"

    @property
    def hangs(self) -> Path:
        """The number of a start for each of its ranks that has hung, one per line."""
        return self.folder / "hangs"

    @property
    def requeue(self) -> Path:
        """Asks the job's script to requeue it: left by a rank in a container, where SLURM's programs are not."""
        return self.folder / "requeue"

    @property
    def order(self) -> Path:
        """The job's instructions, which slurm/worker.py reads."""
        return self.folder / "job.json"

    @property
    def submitted(self) -> Path:
        """The launcher's record of the job."""
        return self.folder / "submitted.json"

    @property
    def attempt(self) -> Path:
        """Id of the job, and the number of its newest start, from 0."""
        return self.folder / "attempt"

    def log(self, job_id: str, rank: int = 0) -> Path:
        """Log of one rank."""
        return self.logs / f"{job_id}_{rank}_log.out"

    def end(self, code: int) -> None:
        """Leave the exit code, the first that is not 0, or 0: a cluster forgets a job minutes after its end.

        As the name of an empty file: a folder's list shows it at once where a file system remembers for a minute that
        there was no file of that name, as NFS does.
        """
        if code == 0 or self.ended() is None:
            (self.folder / f"exit-{code}").touch()

    def ended(self) -> int | None:
        """The exit code that the job has left, None if it has not ended by itself; of several ranks' the smallest."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return None
        return min((int(name[5:]) for name in names if re.fullmatch(r"exit-\d+", name)), default=None)

    def refresh(self) -> int | None:
        """As `ended`; a change by this machine first makes NFS drop what it remembers of the folder."""
        with contextlib.suppress(OSError):
            mark = self.folder / f".look-{os.getpid()}"
            mark.touch()
            mark.unlink()
        return self.ended()

    def first_failure(self) -> int:
        """The rank that failed first; 0 if none is recorded."""
        try:
            return int(self.failures.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return 0
