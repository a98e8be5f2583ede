"""sbatch through submitit, whatever the controller does: one job per entry, never two; a full queue is waited for."""

import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import submitit

from pipeline.errors import StageError
from slurm.cluster import Resources
from slurm.environment import no_settings
from slurm.job import Files
from slurm.ledger import Entry
from slurm.queue import ask
from slurm.states import OVER

PATIENCE_SECONDS = 6 * 3600.0  # for a controller that is away, or a queue that is full
PAUSE_SECONDS = 15.0  # between two tries; a job that was accepted all the same is in the queue by then
# What passes by itself; anything else that sbatch complains of is a mistake in the request.
_PASSES = re.compile(
    r"timed out|temporarily unable to accept|unable to contact slurm controller|connection refused"
    r"|communication connection failure|zero bytes were transmitted|transport endpoint|backup controller"
    r"|Max(?:Submit|Jobs?)\w*Limit|MaxJobCount|submit limit reached|too many jobs",
    re.IGNORECASE,
)
_SETUP = (
    'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',  # srun of SLURM 22.05 does not see sbatch's cpus-per-task
    "export SLURM_EXPORT_ENV=ALL",  # else a site's --export=NONE takes from srun's ranks what submitit sets
)
# After srun: what a rank in a container cannot ask for itself.
_TEARDOWN = (
    "code=$?",
    'if [ -e {requeue} ]; then rm {requeue}; scontrol requeue "$SLURM_JOB_ID" && sleep 120; fi',
    "exit $code",
)
# An sbatch that outlived its launcher could submit a job after the next launcher has looked for one.
_WITH_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"


class RefusedError(StageError):
    """SLURM has not accepted the job, and never will."""


class _Executor(submitit.SlurmExecutor):
    """submitit's executor, made to run slurm/worker.py instead of a pickled function."""

    def __init__(self, files: Files, python: str | None) -> None:
        super().__init__(files.logs, python=python)
        self.command = " ".join(
            [self.python, "-u -m slurm.worker", shlex.quote(str(files.folder)), shlex.quote(str(files.logs))]
        )

    def start(self) -> str:
        """Submit; returns the job's id."""
        return str(self._submit_command(self.command).job_id)

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return [sys.executable, "-I", "-c", _WITH_PARENT, *super()._make_submission_command(submission_file_path)]


def submit(entry: Entry, resources: Resources, check: Callable[[], None]) -> str:
    """Queue the entry's job; returns its id.

    Args:
        entry: whose job it is.
        resources: what it asks for.
        check: raises what should end the waiting early.

    Raises:
        RefusedError: sbatch refuses; the message holds its error.
        StageError: nothing has helped for six hours; the job may have been accepted.
    """
    executor = _executor(entry, resources)
    deadline, shown = time.monotonic() + PATIENCE_SECONDS, ""
    while True:
        try:
            with no_settings():
                return executor.start()
        except submitit.core.utils.FailedJobError as error:
            reason = _reason(error)
        if not _PASSES.search(reason):
            raise RefusedError(f"{entry.stage}: sbatch: {reason}")
        if reason != shown:
            shown = reason
            hours = f"{PATIENCE_SECONDS / 3600:.0f} h"
            print(f"{entry.stage}: sbatch: {reason}: trying again for up to {hours}", file=sys.stderr, flush=True)
        answered = False
        while not answered:  # no answer may hide a job that was accepted
            sleep(PAUSE_SECONDS, check)
            if time.monotonic() > deadline:
                raise StageError(f"{entry.stage}: sbatch: {reason}; asked for again, it looks for the job first")
            answered, job_id = find(entry)
            if job_id is not None:
                return job_id


def find(entry: Entry) -> tuple[bool, str | None]:
    """Whether SLURM answers, and the id of the job that works in the entry's tree, if one is queued or runs."""
    jobs = ask().jobs
    own = (job_id for job_id, job in (jobs or {}).items() if job.folder == str(entry.tree) and job.state not in OVER)
    return jobs is not None, next(own, None)


def sleep(seconds: float, check: Callable[[], None]) -> None:
    """Sleep, unless `check` raises."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check()
        time.sleep(0.2)


def _executor(entry: Entry, resources: Resources) -> _Executor:
    executor = _Executor(entry.files, resources.python)
    executor.update_parameters(
        job_name=f"d2it-{entry.stage}", time=resources.time, nodes=resources.nodes,
        ntasks_per_node=resources.tasks_per_node, cpus_per_task=resources.cpus_per_task,
        mem=f"{int(1024 * resources.mem_gb)}MB", signal_delay_s=resources.signal_delay_s,
        setup=[*_SETUP, *resources.setup], teardown=_teardown(entry.files), stderr_to_stdout=True,
        srun_args=["--kill-on-bad-exit=1"], additional_parameters=_additional(entry, resources),
    )  # fmt: skip
    return executor


def _teardown(files: Files) -> list[str]:
    return [line.format(requeue=shlex.quote(str(files.requeue))) for line in _TEARDOWN]


def _additional(entry: Entry, resources: Resources) -> dict[str, str | int | bool]:
    named = {name: getattr(resources, name) for name in ("partition", "account", "qos", "constraint", "gpus_per_node")}
    always: dict[str, str | int | bool] = {"requeue": True, "chdir": str(entry.tree)}
    return always | {name: value for name, value in named.items() if value} | resources.sbatch


def _reason(error: Exception) -> str:
    """sbatch's error message of a failed call, in one line."""
    lines = [line for line in str(error).splitlines() if line.startswith("sbatch: error:")]
    return " ".join(line.removeprefix("sbatch: error:").strip() for line in lines) or " ".join(str(error).split())
