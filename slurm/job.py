"""A job as its launcher sees it: how to poll it and stop it, and the small files that it leaves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Job(Protocol):
    """A submitted job, seen from the machine that waits for it."""

    id: str
    state: str  # a few words to show

    def poll(self) -> int | None:
        """Exit code, 128 + n for a job that signal n ended; None while it is queued or runs. Never blocks long."""

    def poll_now(self) -> int | None:
        """As `poll`, but from a new query, and waits a bounded time for the exit code of a job that has ended."""

    def record(self) -> dict[str, Any]:
        """JSON from which another launcher makes this object again, with its `target`."""

    def stop(self) -> None:
        """End the job: ask, wait a bounded time, then force. Returns when it has ended."""


@dataclass(frozen=True)
class Files:
    """The files of a job, in folders that all its nodes see, for the launchers that wait for it."""

    folder: Path
    logs: Path  # `<job id>_<rank>_log.out` holds stdout and stderr of a rank; submitit's names

    @property
    def exit_code(self) -> Path:
        """The job's exit code, written last and once: a cluster forgets a job minutes after its end."""
        return self.folder / "exit"

    @property
    def progress(self) -> Path:
        """The state of the progress bar, by d2it/progress.py."""
        return self.folder / "progress"

    @property
    def failures(self) -> Path:
        """Rank and exit code of each rank that failed by itself, one line per rank; the first line is the cause."""
        return self.folder / "failures"

    @property
    def order(self) -> Path:
        """The job's instructions, which slurm/worker.py reads."""
        return self.folder / "job.json"

    @property
    def attempt(self) -> Path:
        """Number of the job's newest start, from 0."""
        return self.folder / "attempt"

    def log(self, job_id: str, rank: int = 0) -> Path:
        """Log of one rank."""
        return self.logs / f"{job_id}_{rank}_log.out"

    def ended(self) -> int | None:
        """The exit code that the job has written, None if it has not ended by itself."""
        try:
            return int(self.exit_code.read_text())
        except (FileNotFoundError, ValueError):  # missing, or not yet written
            return None

    def first_failure(self) -> int:
        """The rank that failed first; 0 if none is recorded."""
        try:
            return int(self.failures.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return 0
