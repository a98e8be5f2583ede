"""A job as its launcher sees it from outside: how to poll it and stop it, and the small files that it leaves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Job(Protocol):
    """A submitted job, seen from the machine that waits for it."""

    id: str
    state: str  # a word or a few to show

    def poll(self) -> int | None:
        """Exit code, 128 + n for a job that signal n ended; None while it is queued or runs. Never blocks long."""

    def settle(self) -> int | None:
        """As `poll`, but asks whoever knows now, and waits a bounded time for what a job that has ended leaves."""

    def record(self) -> dict[str, Any]:
        """By what the job is found again; JSON, with its `target`."""

    def stop(self) -> None:
        """End the job: ask, wait a bounded time, then force. Returns when it is gone."""


@dataclass(frozen=True)
class Files:
    """What a job keeps in folders that all its nodes see, for whoever waits for it."""

    folder: Path
    logs: Path  # `<job id>_<rank>_log.out` holds stdout and stderr of a rank; submitit's names

    @property
    def exit_code(self) -> Path:
        """The job's exit code, written last and once: a cluster forgets a job minutes after its end."""
        return self.folder / "exit"

    @property
    def progress(self) -> Path:
        """What d2it/progress.py keeps up to date."""
        return self.folder / "progress"

    @property
    def failures(self) -> Path:
        """Rank and exit code of each rank that failed by itself, a line each; the first line is the cause."""
        return self.folder / "failures"

    @property
    def order(self) -> Path:
        """What the job is to do: slurm/worker.py reads it."""
        return self.folder / "job.json"

    @property
    def attempt(self) -> Path:
        """How often the job has been started before, by its newest start."""
        return self.folder / "attempt"

    def log(self, job_id: str, rank: int = 0) -> Path:
        """Log of one rank."""
        return self.logs / f"{job_id}_{rank}_log.out"

    def ended(self) -> int | None:
        """The exit code that the job has left, None if it has not ended by itself."""
        try:
            return int(self.exit_code.read_text())
        except (FileNotFoundError, ValueError):  # not there, or not yet written
            return None

    def first_failure(self) -> int:
        """The rank that failed first; 0 if none says so."""
        try:
            return int(self.failures.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return 0
