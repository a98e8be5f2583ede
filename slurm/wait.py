"""Waiting for a job: its states, the live log of rank 0, and why it failed."""

import signal
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from d2it.progress import Mirror
from slurm.interrupt import Interrupt
from slurm.job import Files, Job
from slurm.log import Follower

POLL_SECONDS = 0.25
SHOWN = 12  # lines of a failing rank's log


def wait(
    job: Job, label: str, files: Files, interrupt: Interrupt, is_last: Callable[[], bool] = lambda: True, skip: int = 0
) -> int | None:
    """Show the job's log, progress and changes of state until it ends.

    Args:
        job: what to wait for.
        label: the stage's name, before each of our own lines.
        files: where the job keeps its log and progress.
        interrupt: ends the waiting early.
        is_last: whether nobody else waits for the job; only then it is cancelled.
        skip: bytes of the log that are not shown, as somebody has seen them.

    Returns:
        The job's exit code; None if `interrupt` came first, and its reaction has been carried out.
    """
    try:
        return _wait(job, label, files, interrupt, is_last, skip)
    except OSError:  # writing to a terminal that is gone
        interrupt.lost_terminal()
        return None


def _wait(
    job: Job, label: str, files: Files, interrupt: Interrupt, is_last: Callable[[], bool], skip: int
) -> int | None:
    log, bar = Follower(files.log(job.id), _show, SHOWN, skip), Mirror(files.progress)
    state, code = job.state, job.poll()
    while code is None and not interrupt.came():
        time.sleep(POLL_SECONDS)
        code = job.poll()
        log.pump()
        if sys.stderr.isatty():
            bar.poll()
        if code is None and job.state != state:
            state = job.state
            _show(f"{label}: job {job.id}: {state}")
    if code is None and (interrupt.reaction == "detach" or not is_last()):
        bar.close()
        _say(f"{label}: {interrupt.reason}; job {job.id} runs on: ask for the stage again to wait for it")
        return None
    if code is None:
        _say(f"{label}: {interrupt.reason}: job {job.id} is asked to save and to end")
        job.stop()
    log.pump(end=True)
    bar.close()
    if code:
        explain(label, job, files, code, list(log.last))
    return code


def explain(label: str, job: Job, files: Files, code: int, last: list[str]) -> None:
    """Why the job failed: the end of the log of the rank that failed first, then one line."""
    rank = files.first_failure()
    log = files.log(job.id, rank)
    if rank:
        follower = Follower(log, lambda _: None, SHOWN)
        follower.pump(end=True)
        last = list(follower.last)
    if not log.exists():
        _say(f"{label}: job {job.id} has left no log: can the nodes see {log.parent}? python -m slurm doctor")
    how = f"exit code {code}"
    if code > 128 and code - 128 in set(signal.Signals):
        how = f"ended by {signal.Signals(code - 128).name}" + (" (out of memory?)" if code == 137 else "")
    _say("\n  ".join([f"{label}: the last lines of the log{f' of rank {rank}' if rank else ''}:", *last]))
    _say(f"{label}: failed, {how}: job {job.id}, {job.state}; log {log}; asked for again, it goes on from "
         "what it has saved")  # fmt: skip


def _show(line: str) -> None:
    """A line on stdout, above the bar."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
