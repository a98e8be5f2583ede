"""A job's own workspace: a copy of code, params and inputs, so that editing files changes no waiting job."""

import contextlib
import shutil
from pathlib import Path

from d2it.files import link_or_copy
from pipeline.dag import Definition
from pipeline.packages import IN_A_JOB

CODE = Path(__file__).parents[1]  # the running code, which is the workspace's
SETTINGS = ("params.yaml", "dvc.yaml", "dvc.lock")


def freeze(workspace: Path, tree: Path, stage: Definition) -> None:
    """Fill the new folder `tree`: code and settings are copied, inputs and persistent outputs are linked.

    A hard link keeps the old content: DVC replaces an output by removing it, never by writing into it.
    """
    for package in IN_A_JOB:
        shutil.copytree(CODE / package, tree / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in SETTINGS:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(workspace / name, tree / name)
    for path in (*stage.deps, *stage.persistent):
        if path.startswith("outputs/") and (workspace / path).exists():
            link(workspace / path, tree / path)


def deliver_outputs(tree: Path, workspace: Path, name: str) -> None:
    """Put the outputs of stage `name` from a job's tree into a workspace: the whole folder, or nothing."""
    outputs = workspace / "outputs"
    part, old = outputs / f".{name}.part", outputs / f".{name}.old"  # a folder cannot take the place of another
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    link(tree / "outputs" / name, part)
    if (outputs / name).exists():
        (outputs / name).rename(old)
    part.rename(outputs / name)
    shutil.rmtree(old, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """Hard links to a file or to all files of a folder; copies where the file system has no links."""
    if not source.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source, target)
        return
    shutil.copytree(source, target, copy_function=link_or_copy)
