"""Jobs on this machine: submitit's protocol, in a process and session of our own."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import JobPaths

from slurm.job import Files, run_in_job

PATIENCE_SECONDS = 60.0  # between asking a job to stop and killing it: it saves, and tells MLflow


@dataclass
class LocalJob:
    """A job that is a child of this process and leads its own process group."""

    id: str
    log: Path
    process: "subprocess.Popen[bytes]"
    state: str = "running"

    def poll(self) -> int | None:
        """As in `slurm.job.Job`."""
        code = self.process.poll()
        if code is None or code >= 0:
            return code
        self._signal_group(signal.SIGKILL)  # what a killed job had started
        return 128 - code

    def stop(self) -> None:
        """As in `slurm.job.Job`; a second Ctrl-C ends the patience."""
        self._signal_group(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            self.process.wait(PATIENCE_SECONDS)
        self._signal_group(signal.SIGKILL)  # also what the job itself has started
        self.process.wait(PATIENCE_SECONDS)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class _Executor(submitit.LocalExecutor):
    """submitit's executor without its controller process.

    The controller loses the exit code, kills after two minutes by default, hides the GPUs, and shares the terminal's
    process group, so that Ctrl-C would reach the job beside the launcher.
    """

    def __init__(self, folder: Path, job_id: str) -> None:
        super().__init__(folder)
        self.job_id = job_id
        self.process: subprocess.Popen[bytes] | None = None

    def _submit_command(self, command: str) -> submitit.LocalJob[Any]:
        here = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": self.job_id, "SUBMITIT_LOCAL_NTASKS": "1"}
        with JobPaths(self.folder, self.job_id, 0).stdout.open("ab") as log:
            self.process = subprocess.Popen(
                shlex.split(command),
                env=os.environ | {"SUBMITIT_LOG_LEVEL": "CRITICAL"} | here,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return submitit.LocalJob(folder=self.folder, job_id=self.job_id, process=self.process)


def submit(files: Files, function: Callable[..., object], *arguments: Any) -> LocalJob:
    """Start `function(*arguments)`, both importable from the current folder, as a job on this machine."""
    executor = _Executor(files.folder, files.name)
    job = executor.submit(run_in_job, files, function, *arguments)
    assert executor.process is not None
    return LocalJob(job.job_id, job.paths.stdout, executor.process)
