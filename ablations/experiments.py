"""What DVC knows of experiments: those that are done, and the tasks of its queue."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from ablations.plan import identity_of
from pipeline.errors import StageError
from pipeline.key import recorded_outputs

State = Literal["done", "running", "queued", "failed", "missing"]
LIMIT = 600.0  # seconds that one command of dvc or git may take
TRIES, TRY_SECONDS = 4, 5.0
OURS = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")  # of a stage, if this runs inside one


@dataclass(frozen=True)
class Task:
    """A task of DVC's queue."""

    id: str
    name: str
    state: State


@dataclass(frozen=True)
class Queue:
    """DVC's queue, and how many processes work on it."""

    tasks: tuple[Task, ...]
    workers: int


def dvc(root: Path, *arguments: str) -> str:
    """Run dvc; what it prints.

    Raises:
        StageError: it failed; the message holds its last lines.
    """
    return _run(root, [sys.executable, "-m", "dvc", *arguments])


def done(root: Path) -> dict[str, str]:
    """Name -> commit of all experiments that have ended well, whatever commit they started from; the newest last."""
    form = "--format=%(refname) %(objectname)"
    printed = _run(root, ["git", "for-each-ref", "--sort=creatordate", form, "refs/exps"])
    return dict(re.findall(r"^refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/([^/ ]+) (\w+)$", printed, re.MULTILINE))


def queue(root: Path) -> Queue:
    """The tasks that are queued, run or have failed.

    Raises:
        StageError: dvc cannot tell, several times.
    """
    printed = _queue_status(root)
    states: dict[str, State] = {"Running": "running", "Queued": "queued", "Failed": "failed"}
    rows = re.findall(rf"^([0-9a-f]{{7}}) +(\S+) .*\b({'|'.join(states)}) *$", printed, re.MULTILINE)
    workers = re.search(r"(\d+) active, (\d+) idle", printed)
    tasks = tuple(Task(task, name, states[state]) for task, name, state in rows)
    return Queue(tasks, int(workers[1]) + int(workers[2]) if workers else 0)


def _queue_status(root: Path) -> str:
    """Asked again where it fails: its workers write the files that it reads, which it may meet empty."""
    for _ in range(TRIES - 1):
        try:
            return dvc(root, "queue", "status")
        except StageError:
            time.sleep(TRY_SECONDS)
    return dvc(root, "queue", "status")


def why(root: Path, name: str) -> str:
    """Why an experiment of the queue failed: the last two lines that its stages printed, else dvc's own."""
    try:
        lines = [line.strip() for line in dvc(root, "queue", "logs", name).split("\n") if line.strip()]
    except StageError as error:  # it failed in dvc, before it had a log
        return str(error)
    of_stages = [line for line in lines if not line.startswith("ERROR: failed to reproduce")]
    return "; ".join((of_stages or lines or ["it printed nothing"])[-2:])


def lacking_outputs(root: Path) -> list[str]:
    """Paths that dvc.lock records and DVC's cache lacks: made on another machine, which shares no remote with this."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        cache = Path(repo.cache.local.path)
    recorded = recorded_outputs(root / "dvc.lock")
    return [path for path, md5 in recorded.items() if not (cache / md5[:2] / md5[2:]).exists()]


def known(done: Iterable[str], tasks: Iterable[Task]) -> dict[str, tuple[str, State]]:
    """Identity -> name and state of all experiments; one that failed and was queued again is what it is now."""
    states = sorted(((task.name, task.state) for task in tasks), key=lambda one: one[1] != "failed")
    states += [(name, "done") for name in done]
    return {identity_of(name): (name, state) for name, state in states}


def add_command(name: str, overrides: Sequence[str]) -> list[str]:
    """What follows `dvc` to queue an experiment."""
    return ["exp", "run", "--queue", "--name", name, *(word for one in overrides for word in ("-S", one))]


def _run(root: Path, command: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    # dvc's workers start `dvc`, and stages `python`: those of this interpreter
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    # Files, not pipes: `dvc queue start` leaves workers behind, which would hold a pipe open for hours
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        try:
            ended = subprocess.run(command, cwd=root, env=environment, stdout=out, stderr=err, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise StageError(f"{' '.join(command[-4:])}: no answer in {LIMIT:.0f} s") from None
        for file in (out, err):
            file.seek(0)
        printed, complaint = out.read(), err.read()
    if ended.returncode:
        last = " ".join((complaint or printed).split()[-60:])
        raise StageError(f"{' '.join(command[:5])} ...: exit code {ended.returncode}: {last}")
    return printed
