"""A job on a SLURM cluster, watched in SLURM's queue and through its own files, so that no accounting is needed."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from slurm.cluster import Resources
from slurm.environment import call
from slurm.job import Files
from slurm.ledger import Entry
from slurm.queue import ASK_SECONDS, Queued, ask, newest_answer
from slurm.states import OVER, WAITING, look_up
from slurm.submission import find, sleep, submit

GRACE_SECONDS = 10.0  # for a file written on a node to show up here
OUTPUT_SECONDS = 120.0  # the same where SLURM itself says that the job ended well: NFS may hide files for a minute
LEAVE_SECONDS = 90.0  # for a job to end that has left its result: it completes its run in MLflow
AWAY_SECONDS = 3600.0  # without an answer of SLURM, before the launcher gives up; the job may go on
SAVE_SECONDS = 300.0  # between asking a job to stop and cancelling it
STOP_SECONDS = 120.0  # for a cancelled job to end
NEVER = float("inf")


@dataclass(kw_only=True)
class SlurmJob:
    """A job in SLURM's queue."""

    id: str
    root: Path
    files: Files
    state: str = "PENDING"
    _since: float = 0.0  # older answers do not know this job
    _answered: float = NEVER  # when SLURM last answered
    _ended: float = NEVER  # when an answer first showed that the job is over
    _left: float = NEVER  # when its result was first seen
    _looked_up: float = -NEVER

    def record(self) -> dict[str, Any]:
        """As in `slurm.job.Job`."""
        return {"target": "slurm", "id": self.id}

    def poll(self) -> int | None:
        """As in `slurm.job.Job`.

        Raises:
            StageError: SLURM has not answered for an hour.
        """
        answer = newest_answer(self.root)
        if answer.time >= self._since:
            self._update(answer.jobs)
        return self._code()

    def poll_now(self, check: Callable[[], None]) -> int | None:
        """As in `slurm.job.Job`.

        Raises:
            StageError: SLURM has not answered for an hour.
        """
        self._update(wait_for_answer(f"job {self.id}", check))
        while (code := self._code()) is None and self._ended < NEVER:
            sleep(0.2, check)
        return code

    def _update(self, jobs: dict[str, Queued] | None) -> None:
        now = time.monotonic()
        if jobs is None:
            self._answered = min(self._answered, now)
            if now - self._answered > AWAY_SECONDS:
                raise StageError(f"SLURM has not answered for {AWAY_SECONDS / 60:.0f} min; job {self.id} may still run")
            return
        self._answered = now
        job = jobs.get(self.id)
        if job is None:
            self.state = "forgotten by squeue"
        elif job.state in WAITING:
            self.state = f"{job.state} ({job.reason})" if job.reason != "None" else job.state
        else:
            self.state = f"{job.state} on {job.nodes}" if job.nodes else job.state
        if job is not None and job.state not in OVER:
            self._ended = NEVER
        else:
            self._ended = min(self._ended, now)

    def _code(self) -> int | None:
        now, written = time.monotonic(), self.files.ended()
        if written == 0:
            self._left = min(self._left, now)
        if self._ended == NEVER:  # it runs, or is on its way back to the queue
            return 0 if now - self._left > LEAVE_SECONDS else None
        if written is not None:
            return written
        if now - self._ended < GRACE_SECONDS or now - self._looked_up < ASK_SECONDS:
            return None
        self._looked_up = now
        return self._code_by_slurm(now - self._ended)

    def _code_by_slurm(self, seconds: float) -> int | None:
        """For a job that is over and has left no exit code in so many seconds: 1 if SLURM does not know either."""
        known = look_up(self.id)
        if known is None:  # no answer is no answer
            self._update(None)
            return None
        self.state = "forgotten by SLURM" if known == "forgotten" else known.state
        if known != "forgotten" and not known.is_over:  # squeue has left it out
            self._ended = NEVER
            return None
        if (written := self.files.refresh()) is not None:
            return written
        if known == "forgotten":
            return 1
        if known.state != "COMPLETED" or known.exit_code:
            return known.exit_code or 1
        if seconds < OUTPUT_SECONDS:
            return None
        self.state = "COMPLETED, but it has left no result"
        return 1

    def stop(self, hurried: Callable[[], bool]) -> None:
        """As in `slurm.job.Job`: the ranks are asked to save and end, SLURM kills what does not."""
        asked = not self.state.startswith(WAITING) and call("scancel", "--signal=TERM", self.id) is not None
        if not asked or not self._is_over_within(SAVE_SECONDS, hurried):
            self.cancel()
            self._is_over_within(STOP_SECONDS, lambda: False)

    def cancel(self) -> None:
        """Take it from SLURM's queue, at once, if it is there still."""
        if self._ended == NEVER:
            call("scancel", self.id)

    def _is_over_within(self, seconds: float, hurried: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not hurried():
            self._update(ask().jobs)
            if self._ended < NEVER:
                return True
            time.sleep(1.0)
        return False


def start(entry: Entry, resources: Resources, check: Callable[[], None]) -> SlurmJob:
    """Queue the entry's job; `check` raises what should end the waiting for SLURM early.

    Raises:
        RefusedError: sbatch refuses; the message holds its error.
        StageError: nothing has helped for six hours; the job may have been accepted.
    """
    job_id = submit(entry, resources, check)
    return SlurmJob(id=job_id, root=entry.root, files=entry.files, _since=time.time())


def attach(entry: Entry, record: dict[str, Any]) -> SlurmJob:
    """The job that another launcher has submitted, from its record."""
    return SlurmJob(id=record["id"], root=entry.root, files=entry.files)


def find_lost(entry: Entry, check: Callable[[], None]) -> SlurmJob | None:
    """The job of a launcher that was killed between sbatch and recording its id: it works in the entry's tree.

    Raises:
        StageError: SLURM has not answered for an hour.
    """
    wait_for_answer(entry.stage, check)
    _, job_id = find(entry)
    return None if job_id is None else SlurmJob(id=job_id, root=entry.root, files=entry.files)


def wait_for_answer(name: str, check: Callable[[], None]) -> dict[str, Queued]:
    """What is in the queue, asked now; `name` says who waits.

    Raises:
        StageError: SLURM has not answered for an hour.
    """
    deadline, minutes, shown = time.monotonic() + AWAY_SECONDS, f"{AWAY_SECONDS / 60:.0f} min", False
    while (jobs := ask().jobs) is None:
        if time.monotonic() > deadline:
            raise StageError(f"{name}: SLURM has not answered for {minutes}; ask for the stage again")
        if not shown:
            print(f"{name}: SLURM does not answer: waiting up to {minutes}", file=sys.stderr, flush=True)
            shown = True
        sleep(ASK_SECONDS, check)
    return jobs
