"""Jobs on a SLURM cluster: submitted through submitit, watched in SLURM's queue, so that no accounting is needed."""

import contextlib
import os
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from pipeline.errors import StageError
from slurm.cluster import Resources
from slurm.job import Files
from slurm.ledger import Entry
from slurm.queue import Queued, ask, call, newest_answer

GRACE_SECONDS = 10.0  # for a file written on a node to show up here
AWAY_SECONDS = 3600.0  # without an answer of SLURM, before the launcher gives up; the job may go on
SAVE_SECONDS = 300.0  # between asking a job to stop and cancelling it
STOP_SECONDS = 120.0  # for a cancelled job to end
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
_ALIVE = (*_WAITING, "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING")
# srun of SLURM 22.05 does not see sbatch's cpus-per-task
_SETUP = ('export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',)


@dataclass(kw_only=True)
class SlurmJob:
    """A job in SLURM's queue."""

    id: str
    root: Path
    files: Files
    state: str = "PENDING"
    _since: float = 0.0  # older answers do not know this job
    _answered: float = float("inf")  # when SLURM last answered
    _ended: float = float("inf")  # when an answer first showed that the job is over

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

    def poll_now(self) -> int | None:
        """As in `slurm.job.Job`."""
        self._update(ask().jobs)
        while self._ended < float("inf") and self._code() is None:
            time.sleep(0.2)
        return self._code()

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
            self.state = "forgotten by SLURM"
        elif job.state in _WAITING:
            self.state = f"{job.state} ({job.reason})" if job.reason != "None" else job.state
        else:
            self.state = f"{job.state} on {job.nodes}" if job.nodes else job.state
        if job is not None and job.state in _ALIVE:
            self._ended = float("inf")
        else:
            self._ended = min(self._ended, now)

    def _code(self) -> int | None:
        written = self.files.ended()
        if written is not None and (self._ended < float("inf") or written == 0):
            return written
        if time.monotonic() - self._ended < GRACE_SECONDS:
            return None
        return _exit_code(self.id) if self._ended < float("inf") else None

    def stop(self) -> None:
        """As in `slurm.job.Job`: the ranks are asked to save and end, SLURM kills what does not."""
        asked = not self.state.startswith(_WAITING) and call("scancel", "--signal=TERM", self.id) is not None
        if not asked or not self._is_over_within(SAVE_SECONDS):
            call("scancel", self.id)
            self._is_over_within(STOP_SECONDS)

    def _is_over_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with contextlib.suppress(KeyboardInterrupt):
            while time.monotonic() < deadline:
                self._update(ask().jobs)
                if self._ended < float("inf"):
                    return True
                time.sleep(1.0)
        return False


def _exit_code(job_id: str) -> int:
    """Exit code by SLURM of a job that wrote none: 128 + n after signal n, 1 if SLURM does not know."""
    done = call("scontrol", "show", "job", "--oneliner", job_id)
    match = re.search(r"\bExitCode=(\d+):(\d+)", done.stdout if done else "")
    status, number = map(int, match.groups()) if match else (0, 0)
    return 128 + number if number else status or 1


class _Executor(submitit.SlurmExecutor):
    """submitit's executor, made to run slurm/worker.py instead of a pickled function."""

    def __init__(self, files: Files) -> None:
        super().__init__(files.logs)
        self.command = " ".join(
            [self.python, "-u -m slurm.worker", shlex.quote(str(files.folder)), shlex.quote(str(files.logs))]
        )

    def start(self) -> str:
        """Submit; returns the job's id."""
        return str(self._submit_command(self.command).job_id)


def submit(entry: Entry, resources: Resources) -> SlurmJob:
    """Queue the entry's job.

    Raises:
        StageError: sbatch refuses; the message holds its error.
    """
    files = entry.files
    executor = _Executor(files)
    executor.update_parameters(
        job_name=f"d2it-{entry.stage}", time=resources.time, nodes=resources.nodes,
        ntasks_per_node=resources.tasks_per_node, cpus_per_task=resources.cpus_per_task,
        mem=f"{int(1024 * resources.mem_gb)}MB", signal_delay_s=resources.signal_delay_s,
        setup=[*_SETUP, *resources.setup], stderr_to_stdout=True, srun_args=["--kill-on-bad-exit=1"],
        additional_parameters=_additional(entry, resources),
    )  # fmt: skip
    with _clean_environment():
        try:
            job_id = executor.start()
        except submitit.core.utils.FailedJobError as error:
            raise StageError(f"{entry.stage}: sbatch: {_reason(error)}") from None
    return SlurmJob(id=job_id, root=entry.root, files=files, _since=time.time())


def attach(entry: Entry, record: dict[str, Any]) -> SlurmJob:
    """The job that another launcher has submitted, from its record."""
    return SlurmJob(id=record["id"], root=entry.root, files=entry.files)


def find_lost(entry: Entry) -> SlurmJob | None:
    """The job of a launcher that was killed between sbatch and recording its id: it works in the entry's tree."""
    for job_id, job in (ask().jobs or {}).items():
        if job.folder == str(entry.tree) and job.state in _ALIVE:
            return SlurmJob(id=job_id, root=entry.root, files=entry.files)
    return None


def _additional(entry: Entry, resources: Resources) -> dict[str, str | int | bool]:
    named = {name: getattr(resources, name) for name in ("partition", "account", "qos", "constraint", "gpus_per_node")}
    always: dict[str, str | int | bool] = {"requeue": True, "chdir": str(entry.tree)}
    return always | {name: value for name, value in named.items() if value} | resources.sbatch


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """Without the SLURM_* variables of a job that this launcher may run in: they would apply to the new job too."""
    dropped = {name: os.environ.pop(name) for name in list(os.environ) if re.match("SLURM_(?!CONF$)", name)}
    try:
        yield
    finally:
        os.environ.update(dropped)


def _reason(error: Exception) -> str:
    """sbatch's error message of a failed call, in one line."""
    lines = [line for line in str(error).splitlines() if line.startswith("sbatch: error:")]
    return " ".join(line.removeprefix("sbatch: error:").strip() for line in lines) or " ".join(str(error).split())
