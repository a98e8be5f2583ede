"""A repository whose stages are scripts of a test, run by the real launcher in real processes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.packages import IN_A_JOB
from tests.smallest import smallest_params
from tools.deps import ROOT

LIMIT = 180.0  # seconds; a machine that runs other tests as well is slow
STAGE = "train_content"
WEIGHTS = Path("outputs", STAGE, "weights")
WRITES = "(out / 'weights').write_text('good')"
DAG = """stages:
  prepare: {cmd: x, params: [seed], outs: [outputs/prepare/data]}
  train_content:
    {cmd: x, params: [seed, content_transformer], deps: [outputs/prepare/data], outs: [outputs/train_content/weights]}
"""
# The stage of every test: it records its ranks, and then runs the test's own lines.
ENTRY = """
import os, pathlib, signal, sys, time
from d2it.ranks.ranks import Ranks
from pipeline.errors import StageError
def run(name, key, ranks=Ranks(), on_result=lambda: None):
    root = pathlib.Path(os.environ["DVC_ROOT"])
    out = pathlib.Path("outputs", name)
    out.mkdir(parents=True, exist_ok=True)
    with (root / "starts").open("a") as file: file.write(f"{ranks.rank} {os.getpid()}\\n")
    def wait_for(name):
        deadline = time.monotonic() + 180
        while not (root / name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
"""


class Repository:
    """Code of this project with other stages, in a folder of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        for package in IN_A_JOB:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        YAML().dump(smallest_params(), folder / "params.yaml")
        (folder / "dvc.yaml").write_text(DAG, encoding="utf-8")
        (folder / "outputs" / "prepare").mkdir(parents=True)
        (folder / "outputs" / "prepare" / "data").write_text("input")
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("D2IT_", "DVC_", "SLURM_", "PYTHONPATH"))}
        self.environment = (
            kept | {"D2IT_CLUSTER": "local", "DVC_ROOT": str(folder), "OMP_NUM_THREADS": "1"} | environment
        )
        self.stage_is("pass")

    def stage_is(self, lines: str) -> None:
        """Set the code of the stages; the lines may use the arguments of `run`, `root`, `out` and `wait_for`."""
        indented = "".join(f"    {line}\n" for line in lines.splitlines())
        (self.folder / "stages" / "entry.py").write_text(ENTRY + indented, encoding="utf-8")

    def start(self, stage: str = STAGE, workspace: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
        """A launcher, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "slurm", stage],
            cwd=workspace or self.folder,
            env=self.environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, stage: str = STAGE, **environment: str) -> "subprocess.CompletedProcess[str]":
        """A launcher, from its start to its end."""
        launcher = self.start(stage, **environment)
        out, err = launcher.communicate(timeout=LIMIT)
        return subprocess.CompletedProcess(launcher.args, launcher.returncode, out, err)

    def copy(self, folder: Path) -> Path:
        """Another workspace of the same repository, as DVC makes for a queued experiment."""
        ignored = shutil.ignore_patterns(".d2it", "starts", "__pycache__", folder.name)
        return Path(shutil.copytree(self.folder, folder, ignore=ignored))

    def abandon(self) -> None:
        """Start a job whose launcher is killed: it runs until the file `go` is made."""
        launcher = self.start()
        self.wait_for_starts()
        launcher.kill()
        launcher.communicate()

    def touch(self, name: str) -> None:
        """Make a file that a stage waits for."""
        (self.folder / name).touch()

    def starts(self) -> list[int]:
        """Process ids of all ranks that have ever begun."""
        path = self.folder / "starts"
        return [int(line.split()[1]) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for_starts(self, count: int = 1) -> None:
        """Until so many ranks have begun."""
        wait_for(lambda: len(self.starts()) >= count)

    def entries(self) -> list[Path]:
        """Jobs that the ledger knows."""
        return sorted((self.folder / ".d2it" / "jobs").glob("*"))


def delivered(workspace: Path) -> bool:
    """Whether a workspace has the output of a stage whose lines are WRITES."""
    return (workspace / WEIGHTS).exists() and (workspace / WEIGHTS).read_text() == "good"


def wait_for(condition: Callable[[], object], limit: float = LIMIT) -> None:
    """Until something is so; an error after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def line_of(lines: list[str], name: str) -> str:
    """The one line in which a name stands."""
    (line,) = [line for line in lines if name in line]
    return line


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
