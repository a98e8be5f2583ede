"""Jobs on this machine: one process per rank, each in a session of its own, so that they outlive their launcher."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from pipeline.errors import StageError
from slurm.cluster import Resources
from slurm.environment import without_settings
from slurm.job import Files
from slurm.ledger import Entry

PATIENCE_SECONDS = 60.0  # between asking a job to stop and killing it: it saves, and ends its run in MLflow


def ranks_requested() -> int:
    """D2IT_RANKS: the number of processes of a stage on this machine.

    Raises:
        StageError: it is no positive number.
    """
    asked = os.environ.get("D2IT_RANKS", "1")
    if not asked.isdecimal() or int(asked) < 1:
        raise StageError(f"D2IT_RANKS = {asked!r}: must be a number of processes, at least 1")
    return int(asked)


@dataclass(kw_only=True)
class LocalJob:
    """A job whose ranks are processes of this machine: children of this one, or of another launcher."""

    id: str
    files: Files
    ranks: list[tuple[int, float]]  # process id and start time: a process id alone is used again
    started_here: bool = False
    state: str = "running"
    _ended: int | None = None  # exit code of the first rank that failed
    _stopped_at: float = float("inf")  # when the other ranks were asked to end because of it

    def record(self) -> dict[str, Any]:
        """As in `slurm.job.Job`."""
        return {"target": "local", "id": self.id, "ranks": self.ranks}

    def poll(self) -> int | None:
        """As in `slurm.job.Job`."""
        alive = self._alive()
        if self._ended and alive:  # the other ranks of a job that has lost one
            self._stopped_at = min(self._stopped_at, time.monotonic())
            patient = time.monotonic() - self._stopped_at < PATIENCE_SECONDS
            self._signal(signal.SIGTERM if patient else signal.SIGKILL)
        if alive:
            return None
        written = self.files.ended()
        code = written if written is not None else self._ended or 128 + signal.SIGKILL
        if code:
            self.state = "ended"
            self._signal(signal.SIGKILL)  # processes that the ranks had started
        return code

    def poll_now(self, check: Callable[[], None]) -> int | None:  # noqa: ARG002
        """As in `slurm.job.Job`."""
        return self.poll()

    def stop(self, hurried: Callable[[], bool]) -> None:
        """As in `slurm.job.Job`."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._alive() and time.monotonic() < deadline and not hurried():
            time.sleep(0.1)
        self._signal(signal.SIGKILL)  # also processes that the ranks have started
        while self._alive() and time.monotonic() < deadline + PATIENCE_SECONDS:
            time.sleep(0.1)

    def cancel(self) -> None:
        """As in `slurm.job.Job`."""
        if self._alive():
            self._signal(signal.SIGKILL)

    def _alive(self) -> bool:
        alive = [self._is_alive(pid, began) for pid, began in self.ranks]  # all of them: each child must be reaped
        return any(alive)

    def _is_alive(self, pid: int, began: float) -> bool:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                self._ended = self._ended or (code if code >= 0 else 128 - code)
            return not done
        except ChildProcessError:  # of another launcher, or reaped
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                return abs(process.create_time() - began) < 1 and process.status() != psutil.STATUS_ZOMBIE
            return False

    def _signal(self, number: signal.Signals) -> None:
        """To the ranks and what they have started; another launcher's process ids may be others' by now."""
        for pid, began in self.ranks:
            if not (self.started_here or self._is_alive(pid, began)):
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)


def submit(entry: Entry, resources: Resources) -> LocalJob:
    """Start the entry's job on this machine; inside an allocation of SLURM it is none of SLURM's jobs."""
    files, size = entry.files, resources.world_size
    job_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    files.logs.mkdir(parents=True, exist_ok=True)
    ranks = []
    for rank in range(size):
        with files.log(job_id, rank).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "slurm.worker", str(files.folder), str(files.logs)], cwd=entry.tree,
                env=without_settings(os.environ) | _environment(job_id, rank, size), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        ranks.append((process.pid, psutil.Process(process.pid).create_time()))
    return LocalJob(id=job_id, files=files, ranks=ranks, started_here=True)


def attach(entry: Entry, record: dict[str, Any]) -> LocalJob:
    """The job that another launcher has started, from its record."""
    return LocalJob(id=record["id"], files=entry.files, ranks=[(pid, began) for pid, began in record["ranks"]])


def _environment(job_id: str, rank: int, size: int) -> dict[str, str]:
    """What submitit's JobEnvironment reads on a rank."""
    names = {"JOB_ID": job_id, "NTASKS": size, "GLOBALID": rank, "LOCALID": rank, "JOB_NUM_NODES": 1, "NODEID": 0}
    return {"SUBMITIT_EXECUTOR": "local"} | {f"SUBMITIT_LOCAL_{name}": str(value) for name, value in names.items()}
