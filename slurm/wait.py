"""Waiting for a job: its states, the live log of rank 0, and why it failed."""

import signal
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from d2it.progress import Mirror, is_line
from slurm.interrupt import Interrupt
from slurm.job import Files, Job
from slurm.log import Follower

POLL_SECONDS = 0.25
SHOWN = 12  # lines of a failing rank's log


def wait(
    job: Job, *, label: str, files: Files, interrupt: Interrupt, is_last: Callable[[], bool], skip: int
) -> int | None:
    """Show the job's log, progress and changes of state until it ends.

    Args:
        job: what to wait for.
        label: the stage's name, before each of the launcher's own lines.
        files: where the job keeps its log and progress.
        interrupt: ends the waiting early.
        is_last: whether no other launcher waits for the job; only then it is cancelled.
        skip: bytes at the log's start that are not shown.

    Returns:
        The job's exit code; None if `interrupt` came first, and its reaction has been carried out.
    """
    try:
        return _wait(job, label=label, files=files, interrupt=interrupt, is_last=is_last, skip=skip)
    except OSError:  # writing to a closed terminal
        interrupt.lost_terminal()
        return None


def _wait(
    job: Job, *, label: str, files: Files, interrupt: Interrupt, is_last: Callable[[], bool], skip: int
) -> int | None:
    show = _print_but_progress if sys.stdout.isatty() and sys.stderr.isatty() else _print
    log, bar = Follower(files.log(job.id), show, SHOWN, skip), Mirror(files.progress)
    state, code = job.state, job.poll()
    while code is None and not interrupt.requested():
        time.sleep(POLL_SECONDS)
        code = job.poll()
        log.pump()
        if sys.stderr.isatty():
            bar.poll()
        if code is None and job.state != state:
            state = job.state
            _print(f"{label}: job {job.id}: {state}")
    if code is None and (interrupt.reaction == "detach" or not is_last()):
        bar.close()
        _print_error(f"{label}: {interrupt.reason}; job {job.id} runs on: ask for the stage again to wait for it")
        return None
    if code is None:
        _print_error(f"{label}: {interrupt.reason}: job {job.id} is asked to save and to end")
        job.stop(interrupt.hurried)
    log.pump(end=True)
    bar.close()
    if code:
        _explain(job, label=label, files=files, code=code, last=list(log.last))
    return code


def _explain(job: Job, *, label: str, files: Files, code: int, last: list[str]) -> None:
    """Print why the job failed: the end of the log of the rank that failed first, then one line.

    `last`: the last lines of rank 0's log.
    """
    rank = files.first_failure()
    log = files.log(job.id, rank)
    if rank:
        follower = Follower(log, lambda _: None, SHOWN)
        follower.pump(end=True)
        last = list(follower.last)
    if not log.exists():
        _print_error(f"{label}: job {job.id} has left no log: can the nodes see {log.parent}? python -m slurm doctor")
    how = f"exit code {code}"
    if code > 128 and code - 128 in set(signal.Signals):
        how = f"ended by {signal.Signals(code - 128).name}" + (" (out of memory?)" if code == 137 else "")
    _print_error("\n  ".join([f"{label}: the last lines of the log{f' of rank {rank}' if rank else ''}:", *last]))
    _print_error(
        f"{label}: failed, {how}: job {job.id}, {job.state}; log {log}; asked for again, it goes on from "
        "what it has saved"
    )


def _print_but_progress(line: str) -> None:
    """Where the bar tells as much: the log keeps those lines."""
    if not is_line(line):
        _print(line)


def _print(line: str) -> None:
    """On stdout, above the bar."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _print_error(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
