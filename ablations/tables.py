"""The paper's tables, which tables.yaml holds: read, checked, and what their formulas and labels mean in a preset.

For a table of your own add one to that file, under a name of its own in `tables`, with the keys of `Table`, `Metric`
and `Setting` below. `python -m ablations run` and `report` then know it by its name.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from d2it.errors import UserError
from d2it.params.errors import error_lines
from d2it.params.sections import Params, PositiveInt, Section
from d2it.yaml import read_yaml_file

DEMO = "demo"  # the preset for which a table may have settings of its own: two cores, two seeds, 45 minutes per table
PATH = Path(__file__).with_name("tables.yaml")
Shape = Literal["falls", "best in between"]
Varied = Literal["seed", "seeds.weights", "seeds.order", "seeds.noise", "sample.seed"]


class TablesError(UserError):
    """tables.yaml cannot be used; the message has one line for each mistake."""


class Metric(Section):
    """A number that experiments are compared by."""

    name: str
    key: str  # '<stage>.<name>' of outputs/<stage>/metrics.json
    stand_in: str = ""  # likewise where the extractor is not Inception, as in the demo
    lower_is_better: bool | None = True  # None: a property, not a merit
    shape: Shape | None = None  # what the paper's figure says of it along x
    unit: float = 1.0  # that the table counts it in: 1e6 where metrics.json holds a count and the table millions


class Setting(Section):
    """A row."""

    label: str  # may name params, as in '{content_transformer.layers}+{refinenet.layers}'
    change: dict[str, Any] = {}  # 'section.key' of params -> value, or '= section.key - 2', a sum over the preset's
    paper: list[float | None] = []  # one per metric; None, or fewer, where the paper prints none
    preset: str = ""  # instead of the table's
    x: float | None = None  # its place in a figure
    series: str = ""  # its line in a figure
    varies: Varied = "seed"  # what changes with its seeds: all of a training, or one stream alone


class Table(Section):
    """A table or a figure."""

    name: str = ""  # its key in the file
    title: str
    source: str  # where in the paper, with which model, on which data
    preset: str
    metrics: list[Metric] = Field(min_length=1)
    settings: list[Setting] = Field(min_length=1)
    demo: list[Setting] = []  # instead of `settings` in the demo, where the paper's do not fit its size or time
    x_axis: str = ""
    notes: list[str] = []  # Markdown
    seeds: PositiveInt = 3

    def settings_of(self, preset: str) -> list[Setting]:
        """The rows with this preset."""
        return self.demo if preset == DEMO and self.demo else self.settings


class _File(Section):
    shared: Any = None  # values that have a name, for use in tables
    tables: dict[str, Table]


def read_tables(path: Path = PATH) -> dict[str, Table]:
    """All tables by name, in the file's order.

    Raises:
        TablesError: the file is missing, not YAML, or wrong; one line names the table and the key of each mistake.
    """
    try:
        file = _File.model_validate(read_yaml_file(path, TablesError))
    except ValidationError as error:
        raise TablesError("\n".join(f"{path}: {line}" for line in error_lines(_File, error.errors()))) from None
    mistakes = [f"{path}: tables.{name}: {line}" for name, table in file.tables.items() for line in _mistakes(table)]
    if mistakes:
        raise TablesError("\n".join(mistakes))
    return {name: table.model_copy(update={"name": name}) for name, table in file.tables.items()}


def labelled(label: str, params: Mapping[str, Any]) -> str:
    """A label with the values of the params that it names; `params` as 'section.key' -> value."""
    return re.sub(r"\{([\w.]+)\}", lambda named: str(params.get(named[1], named[0])), label)


def evaluated(value: Any, params: Mapping[str, Any]) -> Any:
    """The sum that '= content_transformer.layers + refinenet.layers - 2' stands for; any other value is itself."""
    if not _is_formula(value):
        return value
    return sum(sign * (int(term) if term.isdecimal() else params[term]) for sign, term in _terms(value))


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("=")


def _terms(formula: str) -> list[tuple[int, str]]:
    """Sign and text of each term."""
    return [(-1 if sign == "-" else 1, term) for sign, term in re.findall(r"([=+-])\s*([\w.]+)", formula)]


def _mistakes(table: Table) -> Iterator[str]:
    """What is wrong with any preset, one line each."""
    for setting in (*table.settings, *table.demo):
        if len(setting.paper) > len(table.metrics):
            yield f"{setting.label}: paper = {setting.paper}: must be at most one number per metric"
        for key, value in setting.change.items():
            yield from (f"{setting.label}: {line}" for line in _wrong_change(key, value))


def _wrong_change(key: str, value: Any) -> list[str]:
    if _is_formula(value):
        keys = [term for _, term in _terms(value) if not term.isdecimal()]
        if not re.fullmatch(r"=\s*[\w.]+(\s*[+-]\s*[\w.]+)*", value) or any(_wrong_change(one, 1) for one in keys):
            return [f"{key} = {value!r}: must be a sum of params and whole numbers, such as '= refinenet.layers + 2'"]
        value = 1  # any number will do to check the key
    section, _, name = key.partition(".")
    try:
        Params.model_validate({section: {name: value}})
    except ValidationError as error:
        return error_lines(Params, [one for one in error.errors() if one["type"] != "missing"])
    return []
