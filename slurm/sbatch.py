"""Jobs on a SLURM cluster, submitted through submitit and watched by asking `scontrol`, which needs no accounting."""

import contextlib
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from slurm.cluster import Resources
from slurm.job import Files, run_in_job
from stages.errors import StageError

ASK_SECONDS = 5.0  # between two questions to the controller
GRACE_SECONDS = 15.0  # for a file written on a node to show up here
AWAY_SECONDS = 1800.0  # without an answer, before the launcher gives up
STOP_SECONDS = 120.0
_ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STAGE_OUT", "REQUEUED", "RESIZING"}
# submitit's own lines stay out of the log; srun of SLURM 22.05 does not see sbatch's cpus-per-task
_SETUP = ("export SUBMITIT_LOG_LEVEL=CRITICAL", 'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"')


@dataclass
class SlurmJob:
    """A job in SLURM's queue."""

    id: str
    log: Path
    exit_file: Path
    state: str = "PENDING"
    _asked: float = float("-inf")
    _answered: float = float("inf")
    _ended: float | None = None
    _code: int = 1

    def poll(self) -> int | None:
        """As in `slurm.job.Job`.

        Raises:
            StageError: SLURM has not answered for half an hour.
        """
        with contextlib.suppress(FileNotFoundError, ValueError):  # not there, or not yet written
            return int(self.exit_file.read_text())
        now = time.monotonic()
        if self._ended is None and now - self._asked >= ASK_SECONDS:
            self._ask(now)
        return self._code if self._ended is not None and now - self._ended >= GRACE_SECONDS else None

    def _ask(self, now: float) -> None:
        self._asked, self._answered = now, min(self._answered, now)
        answer = _call("scontrol", "show", "job", "--oneliner", self.id)
        if answer is None or (answer.returncode and "Invalid job id" not in answer.stderr):
            if now - self._answered > AWAY_SECONDS:
                raise StageError(f"SLURM has not answered for {AWAY_SECONDS / 60:.0f} min; job {self.id} may still run")
            return
        self._answered = now
        state = re.search(r"\bJobState=(\w+)", answer.stdout)
        code = re.search(r"\bExitCode=(\d+):(\d+)", answer.stdout)
        self.state = state.group(1) if state else "FORGOTTEN"
        if self.state not in _ALIVE:
            self._ended = now
            if code:
                status, number = map(int, code.groups())
                self._code = 128 + number if number else status or int(self.state != "COMPLETED")

    def stop(self) -> None:
        """As in `slurm.job.Job`; SLURM itself kills what does not end (its KillWait)."""
        _call("scancel", self.id)
        deadline = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(KeyboardInterrupt):
            while self._ended is None and not self.exit_file.exists() and time.monotonic() < deadline:
                time.sleep(ASK_SECONDS)
                self._ask(time.monotonic())


def _call(*command: str) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return None


def submit(
    files: Files, resources: Resources, label: str, function: Callable[..., object], *arguments: Any
) -> SlurmJob:
    """Queue `function(*arguments)`, both importable from the current folder, under the name `label`.

    Raises:
        StageError: sbatch refuses; the message holds its own words.
    """
    executor = submitit.SlurmExecutor(files.folder)
    executor.update_parameters(
        job_name=label,
        time=resources.time,
        nodes=resources.nodes,
        ntasks_per_node=1,
        cpus_per_task=resources.cpus_per_task,
        mem=f"{int(1024 * resources.mem_gb)}MB",
        setup=[*_SETUP, *resources.setup],
        stderr_to_stdout=True,
        additional_parameters=_additional(resources),
    )
    try:
        job = executor.submit(run_in_job, files, function, *arguments)
    except submitit.core.utils.FailedJobError as error:
        raise StageError(f"sbatch: {' '.join(str(error).split())}") from None
    return SlurmJob(job.job_id, job.paths.stdout, files.exit_code)


def _additional(resources: Resources) -> dict[str, str | int | bool]:
    named = {"partition": resources.partition, "gpus_per_node": resources.gpus_per_node}
    asked = {key: value for key, value in named.items() if value}
    return {"no_requeue": True} | asked | resources.sbatch  # nobody would wait for a second run of the job
