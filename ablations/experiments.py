"""What DVC knows of experiments: those that are done, and the tasks of its queue."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from pipeline.errors import StageError

State = Literal["done", "running", "queued", "failed", "missing"]
LIMIT = 600.0  # seconds that one command of dvc or git may take
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
    lines = _run(root, ["git", "for-each-ref", "--sort=creatordate", form, "refs/exps"]).splitlines()
    commits = {}
    for line in lines:
        ref, commit = line.split()
        match = re.fullmatch(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/([^/]+)", ref)
        if match:
            commits[match[1]] = commit
    return commits


def queue(root: Path) -> Queue:
    """The tasks that are queued, run or have failed."""
    printed = dvc(root, "queue", "status")
    states: dict[str, State] = {"Running": "running", "Queued": "queued", "Failed": "failed"}
    tasks = []
    for line in printed.splitlines():
        words = line.split()
        if len(words) >= 4 and words[-1] in states and re.fullmatch("[0-9a-f]{7}", words[0]):
            tasks.append(Task(words[0], words[1], states[words[-1]]))
    workers = re.search(r"(\d+) active, (\d+) idle", printed)
    return Queue(tuple(tasks), int(workers[1]) + int(workers[2]) if workers else 0)


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
