"""The stages of dvc.yaml that run as jobs: command, params, inputs and outputs of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2it.yaml import read_yaml_file
from pipeline.errors import StageError


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One stage of dvc.yaml; all paths are relative to the workspace."""

    cmd: str
    params: tuple[str, ...]  # keys of params.yaml
    deps: tuple[str, ...]
    outs: tuple[str, ...]  # outs, metrics and plots
    persistent: tuple[str, ...]  # those of outs that are marked `persist: true`


def definitions(path: Path = Path("dvc.yaml")) -> dict[str, Definition]:
    """All stages that run as jobs, in the order of the file.

    Raises:
        StageError: the file is missing, is not YAML, or has a form that this project does not use.
    """
    content = read_yaml_file(path, StageError, "; run from the repository's root")
    try:
        return {name: _definition(entry) for name, entry in content["stages"].items() if not is_local(entry)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StageError(f"{path}: stages need cmd, params, deps and outs as plain lists: {error!r}") from None


def definition(name: str, path: Path = Path("dvc.yaml")) -> Definition:
    """One stage by its name.

    Raises:
        StageError: there is no such stage.
    """
    known = definitions(path)
    if name not in known:
        raise StageError(f"unknown stage {name!r}; allowed: {', '.join(known)}")
    return known[name]


def is_local(entry: dict[str, Any]) -> bool:
    """Whether an entry of dvc.yaml is no job but a moment's work, which DVC does each time."""
    return bool(entry.get("always_changed"))


def _definition(entry: dict[str, Any]) -> Definition:
    params, deps = entry.get("params", []), entry.get("deps", [])
    if not all(isinstance(item, str) for item in [*params, *deps]):
        raise ValueError("params and deps must be texts")
    outs: dict[str, bool] = {}
    for item in [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]:
        flags_by_path = {item: {}} if isinstance(item, str) else item
        outs |= {path: bool((flags or {}).get("persist")) for path, flags in flags_by_path.items()}
    return Definition(
        cmd=str(entry["cmd"]), params=tuple(params), deps=tuple(deps), outs=tuple(outs),
        persistent=tuple(path for path, persist in outs.items() if persist),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What dvc.yaml names for `dvc artifacts get`."""

    name: str
    description: str


def artifacts(path: Path = Path("dvc.yaml")) -> dict[str, Artifact]:
    """Those of dvc.yaml, by the path of their file.

    Raises:
        StageError: dvc.yaml is missing, or is not YAML.
    """
    entries = read_yaml_file(path, StageError, "; run from the repository's root").get("artifacts") or {}
    return {one["path"]: Artifact(name=name, description=one.get("desc", name)) for name, one in entries.items()}
