"""SLURM's queue, queried once in five seconds however many launchers of a repository wait."""

import fcntl
import getpass
import json
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from d2it.files import write_text

ASK_SECONDS = 5.0
TIMEOUT_SECONDS = 30.0
_FORMAT = "%i|%T|%r|%N|%Z"


@dataclass(frozen=True)
class Queued:
    """A job, which may have ended in the last minutes."""

    state: str  # RUNNING, PENDING, COMPLETED, ...
    reason: str
    nodes: str
    folder: str  # its working directory


@dataclass(frozen=True)
class Answer:
    """All jobs of this user by id, as they were at `time` (seconds since 1970); None where SLURM did not answer."""

    time: float
    jobs: dict[str, Queued] | None


def ask() -> Answer:
    """Ask the controller now."""
    done = call("squeue", "--user", getpass.getuser(), "--states=all", "--noheader", f"--format={_FORMAT}")
    if done is None or done.returncode:
        return Answer(time.time(), None)
    jobs = {}
    for line in done.stdout.splitlines():
        job_id, state, reason, nodes, folder = line.split("|", 4)
        jobs[job_id] = Queued(state, reason, nodes, folder)
    return Answer(time.time(), jobs)


def newest_answer(root: Path) -> Answer:
    """The newest answer that any launcher of this repository got; asks if it is old and no other launcher does."""
    path = root / ".d2it" / "queue.json"
    answer = _read(path)
    if time.time() - answer.time < ASK_SECONDS:
        return answer
    with path.with_suffix(".lock").open("w") as lock:
        try:  # without pipeline/lock.py: a lock that another launcher holds is no error and is not waited for
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return answer
        answer = _read(path)
        if time.time() - answer.time >= ASK_SECONDS:
            answer = ask()
            write_text(path, json.dumps(asdict(answer)))
    return answer


def _read(path: Path) -> Answer:
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        record = json.loads(path.read_text(encoding="utf-8"))
        jobs = record["jobs"]
        return Answer(record["time"], jobs and {name: Queued(**job) for name, job in jobs.items()})
    return Answer(0, None)


def call(*command: str, seconds: float = TIMEOUT_SECONDS) -> "subprocess.CompletedProcess[str] | None":
    """Run one of SLURM's programs; None if it does not exist, or does not answer within `seconds`."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
