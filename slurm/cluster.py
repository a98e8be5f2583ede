"""slurm/cluster.yaml: what each stage asks SLURM for; `defaults` for all stages, overridden by `stages.<name>`."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from stages.errors import StageError


def _minutes(value: Any) -> Any:
    """H:MM:SS as minutes, rounded up, which is how SLURM counts."""
    clock = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", value) if isinstance(value, str) else None
    if clock is None:
        return value
    hours, minutes, seconds = map(int, clock.groups())
    return 60 * hours + minutes + (seconds > 0)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resources(_Strict):
    """What one stage asks for."""

    partition: str | None = Field(None, description="SLURM partition; the cluster's own default if null")
    nodes: int = Field(1, ge=1, le=1, description="nodes; a stage runs on one")
    gpus_per_node: int = Field(0, ge=0, description="GPUs a node")
    cpus_per_task: int = Field(1, ge=1, description="CPU cores")
    mem_gb: float = Field(8, gt=0, description="memory a node, GB")
    time: Annotated[int, BeforeValidator(_minutes)] = Field(60, ge=1, description="limit: minutes, or H:MM:SS")
    setup: list[str] = Field([], description="shell lines before the stage, such as 'module load cuda'")
    sbatch: dict[str, str | int | bool] = Field({}, description="any other sbatch parameter: account, qos, constraint")


class _File(_Strict):
    defaults: dict[str, Any] = {}
    stages: dict[str, dict[str, Any]] = {}


def load_resources(path: Path, stages: Collection[str]) -> dict[str, Resources]:
    """Read and check the file: the resources of each of `stages`, all of them, so that a mistake shows at once.

    Raises:
        StageError: one line 'file: key = value: what is wrong' for each wrong key.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}
    except FileNotFoundError:
        raise StageError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise StageError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        file = _File.model_validate(values)
    except ValidationError as error:
        raise StageError("\n".join(_lines(error, str(path), ""))) from None
    allowed = ", ".join(stages)
    wrong = [f"{path}: stages.{name}: unknown stage; allowed: {allowed}" for name in file.stages if name not in stages]
    found: dict[str, Resources] = {}
    for name in stages:
        own = file.stages.get(name, {})
        try:
            found[name] = Resources.model_validate(file.defaults | own)
        except ValidationError as error:
            wrong += _lines(error, str(path), "defaults.", f"stages.{name}.", own)
    if wrong:
        raise StageError("\n".join(sorted(set(wrong))))
    return found


def _lines(
    error: ValidationError, path: str, prefix: str, own_prefix: str = "", own: Collection[str] = ()
) -> list[str]:
    """One line a wrong key; a key in `own` stands under `own_prefix` in the file, any other under `prefix`."""
    lines = []
    for one in error.errors():
        key = ".".join(map(str, one["loc"])) or "the file"
        where = own_prefix if key.split(".")[0] in own else prefix
        if one["type"] == "extra_forbidden":
            allowed = Resources.model_fields if prefix else _File.model_fields
            lines.append(f"{path}: {where}{key}: unknown key; allowed: {', '.join(allowed)}")
        else:
            hint = " (minutes, or H:MM:SS)" if key == "time" else ""
            lines.append(f"{path}: {where}{key} = {one['input']!r}: {one['msg'].lower()}{hint}")
    return lines


class _Loader(yaml.SafeLoader):
    """YAML in which 4:00:00 is a text, as in YAML 1.2; YAML 1.1 reads it as the number 14400."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:int"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
