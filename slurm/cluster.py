"""slurm/cluster.yaml: what each stage asks SLURM for.

`defaults` hold for all stages and `stages.<name>` for one. A profile, chosen with D2IT_PROFILE, has the same two, which
override those, key by key: defaults < stages.<name> < profile's defaults < profile's stages.<name>.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from d2it.params.sections import Section
from d2it.yaml import read_yaml_file
from pipeline.errors import StageError

WORK_SECONDS = 60  # that a time limit must leave before the signal: a job that only starts and saves burns its requeues
_LAUNCHERS = ("array", "chdir", "error", "export", "job_name", "no_requeue", "open_mode", "output", "requeue", "signal")
_OWN_KEY = {"ntasks_per_node": "tasks_per_node", "mem": "mem_gb"} | {
    name: name for name in ("partition", "nodes", "cpus_per_task", "time", "account", "qos", "constraint")
}


def _minutes(value: Any) -> Any:
    """H:MM:SS as minutes, rounded up, which is how SLURM counts."""
    clock = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", value) if isinstance(value, str) else None
    if clock is None:
        return value
    hours, minutes, seconds = map(int, clock.groups())
    return 60 * hours + minutes + (seconds > 0)


class Resources(Section):
    """What one stage asks for."""

    partition: str | None = None  # SLURM's; the cluster's own default if null
    nodes: int = Field(1, ge=1)
    gpus_per_node: int = Field(0, ge=0)  # for GPUs of one type add sbatch: {gpus_per_node: a100:4}
    tasks_per_node: int = Field(1, ge=1)  # ranks, which share the stage's work; if null one per GPU, at least one
    cpus_per_task: int = Field(1, ge=1)  # CPU cores per rank
    mem_gb: float = Field(8, gt=0)  # memory per node, GiB
    signal_delay_s: int = Field(120, ge=1, le=65535)  # before the time limit: the job saves, and goes back to the queue
    time: Annotated[int, BeforeValidator(_minutes)] = Field(60, ge=1, validate_default=True)  # limit of one run
    account: str | None = None
    qos: str | None = None  # quality of service
    constraint: str | None = None  # node features, as sbatch writes them, such as 'a100|h100'
    setup: list[str] = []  # shell lines before the stage, such as 'module load cuda'
    python: str | None = None  # command that starts Python, such as one in a container; the launcher's own if null
    sbatch: dict[str, str | int | bool] = {}  # any other parameter of sbatch, such as {reservation: mine}

    @property
    def world_size(self) -> int:
        """Ranks in all."""
        return self.nodes * self.tasks_per_node

    @model_validator(mode="before")
    @classmethod
    def _one_rank_per_gpu(cls, values: dict[str, Any]) -> dict[str, Any]:
        gpus = values.get("gpus_per_node", 0)
        ranks = max(1, gpus) if isinstance(gpus, int) else 1
        return values if values.get("tasks_per_node") is not None else values | {"tasks_per_node": ranks}

    @field_validator("tasks_per_node")
    @classmethod
    def _no_shared_gpu(cls, value: int, given: ValidationInfo) -> int:
        gpus = given.data.get("gpus_per_node", 0)
        if 0 < gpus < value:
            raise ValueError(f"must be at most gpus_per_node = {gpus}: ranks cannot share a GPU")
        return value

    @field_validator("time")
    @classmethod
    def _leaves_time_to_work(cls, value: int, given: ValidationInfo) -> int:
        least = given.data.get("signal_delay_s", 0) + WORK_SECONDS
        if 60 * value < least:
            raise ValueError(f"must be at least {-(-least // 60)} minutes: signal_delay_s and {WORK_SECONDS} s of work")
        return value

    @field_validator("sbatch")
    @classmethod
    def _not_set_elsewhere(cls, value: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        for key in value:
            name = key.replace("-", "_")
            if name in _OWN_KEY:
                raise ValueError(f"{key} has a key of its own: {_OWN_KEY[name]}")
            if name in _LAUNCHERS:
                raise ValueError(f"{key} is set by the launcher")
        return value


class _Layer(Section):
    defaults: dict[str, Any] = {}
    stages: dict[str, dict[str, Any]] = {}


class _File(_Layer):
    profiles: dict[str, _Layer] = {}


def load_resources(path: Path, stages: Collection[str], profile: str | None = None) -> dict[str, Resources]:
    """Read the file, and check the resources of each of `stages` in all profiles, so that a mistake shows at once.

    `profile`: None or '' for none.

    Raises:
        StageError: one line 'file: key = value: what is wrong' for each wrong key; or there is no such profile.
    """
    file = _read(path)
    if profile and profile not in file.profiles:
        allowed = ", ".join(file.profiles) or "none, as the file has no profiles"
        raise StageError(f"D2IT_PROFILE = {profile!r}: no such profile in {path}; allowed: {allowed}")
    chosen, wrong = _resolve(file, "", stages)
    for name in file.profiles:
        resources, lines = _resolve(file, name, stages)
        if name == profile:
            chosen = resources
        # what is wrong without the profile too is reported once
        wrong += [
            line if line.startswith("profiles.") else f"{line} (in profile {name})"
            for line in lines
            if line not in wrong
        ]
    if wrong:
        raise StageError("\n".join(f"{path}: {line}" for line in sorted(set(wrong))))
    return chosen


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(read_yaml_file(path, StageError) or {})
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(map(str, one['loc'])) or 'the file'}"
            + _reason(one, _File.model_fields if len(one["loc"]) == 1 else _Layer.model_fields)
            for one in error.errors()
        ]
        raise StageError("\n".join(lines)) from None


def _resolve(file: _File, profile: str, stages: Collection[str]) -> tuple[dict[str, Resources], list[str]]:
    """The resources of each stage in a profile ('': in none), and one line per mistake."""
    layers = {"": file} | ({f"profiles.{profile}.": file.profiles[profile]} if profile else {})
    wrong = [
        f"{prefix}stages.{name}: unknown stage; allowed: {', '.join(stages)}"
        for prefix, layer in layers.items()
        for name in layer.stages
        if name not in stages
    ]
    resources: dict[str, Resources] = {}
    for name in stages:
        parts: dict[str, Mapping[str, Any]] = {}
        for prefix, layer in layers.items():
            parts |= {f"{prefix}defaults": layer.defaults, f"{prefix}stages.{name}": layer.stages.get(name, {})}
        merged = {key: value for part in parts.values() for key, value in part.items()}
        try:
            resources[name] = Resources.model_validate(merged)
        except ValidationError as error:
            wrong += _lines(error, parts)
            continue
    return resources, wrong


def _lines(error: ValidationError, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line per wrong key, named by the last of `parts` that holds it."""
    for one in error.errors():
        holders = [part for part, values in parts.items() if one["loc"][0] in values]
        key = ".".join(map(str, one["loc"]))
        hint = " (minutes, or H:MM:SS)" if key == "time" and one["type"] != "value_error" else ""
        yield f"{holders[-1] if holders else 'defaults'}.{key}{_reason(one, Resources.model_fields)}{hint}"


def _reason(one: Mapping[str, Any], allowed: Collection[str]) -> str:
    if one["type"] == "extra_forbidden":
        return f": unknown key; allowed: {', '.join(allowed)}"
    text = one["msg"].removeprefix("Value error, ")
    return f" = {one['input']!r}: {text[:1].lower()}{text[1:]}"
