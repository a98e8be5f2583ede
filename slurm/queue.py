"""SLURM's queue, queried once in five seconds however many launchers of a repository wait."""

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from d2it.files import write_text
from pipeline.lock import refusing_no_locks
from slurm.environment import call

ASK_SECONDS = 5.0
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
    asked = time.time()
    user = str(os.geteuid())  # LOGNAME may be another's
    done = call("squeue", "--local", "--user", user, "--states=all", "--noheader", f"--format={_FORMAT}")
    return Answer(asked, None if done is None or done.returncode else parse_squeue(done.stdout))


def parse_squeue(text: str) -> dict[str, Queued]:
    """squeue's output in the format of `ask`; other lines, such as a site's notices, are passed over."""
    jobs = {}
    for line in text.splitlines():
        job_id, *rest = line.strip().split("|", 4)
        if job_id.isdecimal() and len(rest) == 4:
            state, reason, nodes, folder = rest
            jobs[job_id] = Queued(state, reason, nodes, folder)
    return jobs


def newest_answer(root: Path) -> Answer:
    """The newest answer that any launcher of this repository got; asks if it is old and no other launcher does."""
    path = root / ".d2it" / "queue.json"
    answer = _read(path)
    if _is_new(answer):
        return answer
    with path.with_suffix(".lock").open("w") as lock:
        try:  # a lock that another launcher holds is no error and is not waited for
            with refusing_no_locks(path):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return answer
        answer = _read(path)
        if not _is_new(answer):
            answer = ask()
            write_text(path, json.dumps(asdict(answer)))
    return answer


def _is_new(answer: Answer) -> bool:
    """Not for ever where the clock of the machine that asked is ahead."""
    return abs(time.time() - answer.time) < ASK_SECONDS


def _read(path: Path) -> Answer:
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        record = json.loads(path.read_text(encoding="utf-8"))
        jobs = record["jobs"]
        return Answer(record["time"], jobs and {name: Queued(**job) for name, job in jobs.items()})
    return Answer(0, None)
