"""From a table to experiments: which params each has, and the name that it bears whoever asks for it.

A name such as window-8-seed1-1a2b3c4d-5e6f ends in hashes of all params, and of the pipeline's code and the images. The
same end means the same result, so a setting that two tables share is one experiment, and what exists is known from any
commit.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ablations.tables import DEMO, Setting, Table, evaluated, labelled
from ablations.verdict import Cell
from d2it.nested import flatten
from d2it.params.load import ParamsError, check_params, load_params
from d2it.params.sections import DataParams, Params
from pipeline.dag import definitions
from pipeline.errors import StageError
from pipeline.key import content_md5
from pipeline.manifest import MissingError, known_manifest


@dataclass(frozen=True)
class Experiment:
    """One setting with one seed of training and one of sampling."""

    name: str
    seed: int
    params: Params
    sampling_seed: int = 0

    @property
    def cell(self) -> Cell:
        """What it shares with the same seeds of another setting."""
        return Cell(self.seed, self.sampling_seed)

    @property
    def identity(self) -> str:
        """The end of the name: params, and code with images."""
        return identity_of(self.name)

    def overrides(self, workspace: Params) -> list[str]:
        """What `dvc exp run -S` must change in these params, as Hydra reads it."""
        wanted, present = flat(self.params), flat(workspace)
        return [f"{key}={hydra_value(value)}" for key, value in wanted.items() if value != present[key]]


@dataclass(frozen=True)
class TableRow:
    """One setting with all seeds, or why this preset cannot have it."""

    setting: Setting
    label: str
    experiments: tuple[Experiment, ...]
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A table with a preset and so many seeds, 0 .. seeds - 1, each sampled with as many seeds as `sampling_seeds`."""

    table: Table
    preset: str  # empty: the table's own
    seeds: int
    rows: tuple[TableRow, ...]
    sampling_seeds: int = 1

    @property
    def base(self) -> str:
        """The presets that settings change."""
        own = dict.fromkeys(row.setting.preset or self.table.preset for row in self.rows)
        return self.preset or ", ".join(own)

    @property
    def metric_keys(self) -> tuple[str, ...]:
        """The table's metrics as a parent run in MLflow names them."""
        other = any(experiment.params.fid.extractor != "inception" for experiment in self.experiments)
        return tuple(metric.stand_in if other and metric.stand_in else metric.key for metric in self.table.metrics)

    @property
    def asked_for(self) -> str:
        """What follows `python -m ablations run` to ask for it again."""
        preset = f" --preset {self.preset}" if self.preset else ""
        samplings = f" --sampling-seeds {self.sampling_seeds}" if self.sampling_seeds > 1 else ""
        return f"{self.table.name}{preset} --seeds {self.seeds}{samplings}"

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """All of them, each once; all settings of a seed before the next seed, so a table is whole early."""
        ordered = sorted((e for row in self.rows for e in row.experiments), key=lambda e: e.cell)
        return tuple({experiment.identity: experiment for experiment in ordered}.values())


def plan(table: Table, root: Path, preset: str = "", seeds: int = 0, *, sampling_seeds: int = 1) -> Plan:
    """All experiments of a table.

    Without a preset each setting has its own, or the table's; without a number of seeds it is the table's, and at most
    2 in the demo.

    Raises:
        StageError: there is no such preset.
        ParamsError: the preset is wrong.
    """
    count = seeds or min(table.seeds, 2 if preset == DEMO else table.seeds)
    rows = []
    for setting in table.settings_of(preset):
        base = load_preset(root, preset or setting.preset or table.preset)
        cells = [Cell(seed, sampling) for seed in range(count) for sampling in range(sampling_seeds)]
        rows.append(_row(table, setting, base, cells=cells, root=root))
    return Plan(table=table, preset=preset, seeds=count, rows=tuple(rows), sampling_seeds=sampling_seeds)


def _row(table: Table, setting: Setting, base: Params, *, cells: Sequence[Cell], root: Path) -> TableRow:
    try:
        params = _changed(base, setting)
    except ParamsError as error:
        why = str(error).partition(": ")[2].replace("\n", "; ")
        return TableRow(setting, labelled(setting.label, flat(base)), (), why)
    label = labelled(setting.label, flat(params))
    name = f"{table.name}-{slug(label)}".replace("_", "-")
    experiments, origin = [], origin_hash(root, params.data)
    for cell in cells:
        if cell.sampling_seed and setting.varies == "sample.seed":
            continue  # its seeds are those of sampling already
        seeded = _seeded(params, setting, cell)
        seeds = f"seed{cell.seed}" + (f"-sample{cell.sampling_seed}" if cell.sampling_seed else "")
        named = f"{name}-{seeds}-{params_hash(seeded)}-{origin}"
        experiments.append(Experiment(named, cell.seed, seeded, cell.sampling_seed))
    return TableRow(setting, label, tuple(experiments))


def _seeded(params: Params, setting: Setting, cell: Cell) -> Params:
    """The seed goes where the setting wants it, and sampling seeds are counted from the preset's."""
    values = params.model_dump(mode="json")
    values["sample"]["seed"] += cell.sampling_seed
    section, _, name = setting.varies.rpartition(".")
    of = values[section] if section else values
    of[name] = cell.seed + (of[name] if setting.varies == "sample.seed" else 0)
    return check_params(values, setting.label)


def presets(root: Path) -> list[str]:
    """Names of the complete params files in `presets/`."""
    return sorted(path.stem for path in (root / "presets").glob("*.yaml"))


@cache
def load_preset(root: Path, name: str) -> Params:
    """A preset's params.

    Raises:
        StageError: there is no such preset.
        ParamsError: it is wrong.
    """
    if name not in presets(root):
        raise StageError(f"preset {name!r}: allowed: {', '.join(presets(root))}")
    return load_params(root / "presets" / f"{name}.yaml")


def _changed(base: Params, setting: Setting) -> Params:
    """A preset's params with a setting's changes; ParamsError if its size does not allow them."""
    values, present = base.model_dump(mode="json"), flat(base)
    for key, value in setting.change.items():
        section, _, name = key.partition(".")
        values[section][name] = evaluated(value, present)
    return check_params(values, setting.label)


def flat(params: Params) -> dict[str, Any]:
    """Params as 'section.key' -> value."""
    return flatten(params.model_dump(mode="json"))


def varied(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """Params in which experiments differ, 'section.key', or the seed if that is all."""
    values = [flat(experiment.params) for experiment in experiments]
    keys = tuple(key for key in values[0] if any(one[key] != values[0][key] for one in values))
    return tuple(key for key in keys if key != "seed") or keys


def hydra_value(value: Any) -> str:
    """A value in the grammar of Hydra's overrides, which DVC uses."""
    if not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"))
    if re.fullmatch(r"[A-Za-z][\w./-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"


def params_hash(params: Params) -> str:
    """8 hex digits of all params but for what is shown of a training."""
    values = {key: value for key, value in flat(params).items() if not key.startswith("preview_")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


@cache
def origin_hash(root: Path, data: DataParams) -> str:
    """4 hex digits of the code that dvc.yaml names and of the images: a result of others bears another name.

    Where neither the images nor the workspace's manifest of them are at hand, of the code alone.
    """
    stages = definitions(root / "dvc.yaml").values()
    paths = sorted({dep for stage in stages for dep in stage.deps if not dep.startswith("outputs/")})
    listed = [(path, content_md5(root / path)) for path in paths]
    with suppress(MissingError):
        listed.append((data.source, known_manifest(data, root, root).sha256))
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:4]


def identity_of(name: str) -> str:
    """The end of an experiment's name, '<params>-<origin>'."""
    return "-".join(name.split("-")[-2:])


def params_of(name: str) -> str:
    """The hash of all params in an experiment's name, whichever code ran with them."""
    return identity_of(name).partition("-")[0]


def slug(label: str) -> str:
    """A label as part of a name: '+ DVAE and routing' -> 'dvae-and-routing'."""
    ascii_only = label.replace("²", "2").lower()
    return re.sub(r"[^a-z0-9.]+", "-", ascii_only).strip("-.")
