"""From a stage's name to its exit code: check, submit, show, wait."""

import os
import signal
import sys
import time
from pathlib import Path

from tqdm import tqdm

from d2it.params import load
from d2it.progress import Mirror
from slurm import local, sbatch
from slurm.cluster import load_resources
from slurm.job import Files, Job, run_stage
from slurm.log import Follower
from slurm.target import find_target
from stages.dag import definition, definitions
from stages.downloads import ensure
from stages.key import stage_key
from stages.root import find_root

POLL_SECONDS = 0.2
CLUSTER = Path(__file__).with_name("cluster.yaml")


def launch(stage: str) -> int:
    """Run a stage of dvc.yaml wherever it is to run, and wait for it.

    Returns:
        The job's exit code; 128 + n where signal n stopped the launcher, and the job with it.

    Raises:
        ParamsError, StageError: something is wrong that can be seen before the job starts.
    """
    definition(stage)
    params = load()
    target, root, key = find_target(), find_root(), stage_key(stage)
    resources = load_resources(CLUSTER, definitions())[stage] if target == "slurm" else None
    ensure(stage, params)
    if target == "inline":
        run_stage(stage, key)
        return 0
    files = Files(root / ".d2it" / "jobs" / stage, f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    with Interrupt() as interrupt:
        if resources is not None:
            job: Job = sbatch.submit(files, resources, f"d2it-{stage}", run_stage, stage, key)
        else:
            job = local.submit(files, run_stage, stage, key)
        try:
            return wait(job, stage, files.progress, interrupt)
        except OSError:  # nobody reads our output any more
            job.stop()
            raise


class Interrupt:
    """Remembers INT and TERM instead of dying of them, so that no job is left behind; `number` is 0 until one comes."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._come) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _come(self, number: int, _: object) -> None:
        if self.number:
            raise KeyboardInterrupt  # the second one: do not wait for the job to end by itself
        self.number = number


def wait(job: Job, label: str, progress: Path, interrupt: Interrupt) -> int:
    """Show the job's log, progress and changes of state until it ends; returns the exit code as `launch` does."""
    log, bar = Follower(job.log, _show), Mirror(progress)
    state, code = job.state, None
    _show(f"{label}: job {job.id}, {state}; log {job.log}")
    while code is None and not interrupt.number:
        time.sleep(POLL_SECONDS)
        code = job.poll()
        log.pump()
        if sys.stderr.isatty():
            bar.poll()
        if job.state != state:
            state = job.state
            _show(f"{label}: job {job.id}, {state}")
    if code is None:
        tqdm.write(f"{label}: {signal.Signals(interrupt.number).name}, stopping job {job.id}", file=sys.stderr)
        job.stop()
    log.pump(end=True)
    bar.close()
    if code:
        _explain(label, job, code, list(log.last))
    return 128 + interrupt.number if code is None else code


def _show(line: str) -> None:
    """A line on stdout, above the bar."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _explain(label: str, job: Job, code: int, last: list[str]) -> None:
    """Why the job failed: the end of its log, then one line."""
    how = f"exit code {code}"
    if code > 128 and code - 128 in set(signal.Signals):
        how = f"ended by {signal.Signals(code - 128).name}" + (" (out of memory?)" if code == 137 else "")
    print(f"{label}: the last lines of its log:", *(f"  {line}" for line in last), sep="\n", file=sys.stderr)
    print(f"{label}: failed, {how}: job {job.id}, log {job.log}", file=sys.stderr)
