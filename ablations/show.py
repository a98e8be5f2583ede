"""DVC's experiments in a table that fits a terminal: what differs from the workspace, and the numbers that matter."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ablations.experiments import dvc
from ablations.plan import hydra_value
from d2it.nested import flatten
from pipeline.headlines import headlines

WIDTH = 120  # columns of a terminal
LEAST = 24  # of them for a name, and for what differs, where either is long
GAP, PADDING = 2, 2  # between two columns; around a head, at least
AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


@dataclass(frozen=True, kw_only=True)
class Line:
    """One experiment, a commit that some started from, or the workspace."""

    name: str
    differs: str  # from the workspace, as -S would ask for it
    numbers: Mapping[str, tuple[str, float]] = field(default_factory=dict)  # see `headlines`
    age: str = ""


def show(root: Path, every_commit: bool = False) -> str:
    """The table; `every_commit`: also of experiments that started from another commit than the present one.

    Raises:
        StageError: dvc does not answer.
    """
    shown = json.loads(dvc(root, "exp", "show", "--json", *(["--all-commits"] if every_commit else [])))
    return table([*lines(shown, time.time())])


def lines(shown: Sequence[Mapping[str, Any]], now: float) -> Iterator[Line]:
    """From what `dvc exp show --json` prints; `now`: seconds since 1970.

    A commit is left out where no experiment started from it, but for the present one.
    """
    workspace = _params(shown[0])
    for number, state in enumerate(shown):
        started = state.get("experiments") or []
        if number > 1 and not started:
            continue
        name = state.get("name") or state["rev"]
        yield _line(state, name if number == 0 else f"{name[:20]} (commit)", workspace, now)
        for one in started:
            newest, executor = one["revs"][0], one.get("executor") or {}
            progress = executor.get("state", "success")
            label = f"  {one.get('name') or newest['rev'][:7]}"
            yield _line(newest, label if progress == "success" else f"{label} ({progress})", workspace, now)


def table(of: Sequence[Line]) -> str:
    """As text, at most WIDTH columns wide; below it the full names of numbers."""
    full = {name: long for line in of for name, (long, _) in line.numbers.items()}
    heads = ["", "differs in", *(name.replace("_", "\n") for name in full), "age"]
    cells = [[line.name, line.differs, *(_cell(line, name) for name in full), line.age] for line in of]
    words = [max(map(len, head.split("\n"))) + PADDING for head in heads]
    widths = [max(word, *map(len, column)) for word, *column in zip(words, *cells, strict=True)]
    left = WIDTH - sum(widths) + widths[1] - GAP * (len(heads) - 1)
    name_width = widths[0] if left >= LEAST else max(LEAST, widths[0] + left - LEAST)
    wrapped = [name_width, max(LEAST, left), *[None] * (len(heads) - 2)]
    right = ["left", "left", *["right"] * (len(heads) - 2)]
    text = tabulate(cells, heads, maxcolwidths=wrapped, colalign=right, disable_numparse=True, preserve_whitespace=True)
    return f"{text}\nNumbers: {', '.join(full.values())}" if full else text


def _line(state: Mapping[str, Any], name: str, workspace: Mapping[str, Any], now: float) -> Line:
    data = state.get("data")
    if not data:
        return Line(name=name, differs=f"unreadable: {(state.get('error') or {}).get('msg', '')}".strip())
    params = _params(state)
    changed = [f"{key}={hydra_value(value)}" for key, value in params.items() if workspace.get(key, value) != value]
    fid = (data.get("metrics") or {}).get("outputs/fid/metrics.json", {}).get("data") or {}
    numbers = headlines(fid, str(params.get("fid.extractor", "")))
    return Line(name=name, differs=" ".join(changed), numbers=numbers, age=_age(data.get("timestamp"), now))


def _params(state: Mapping[str, Any]) -> dict[str, Any]:
    data = state.get("data") or {}
    return flatten((data.get("params") or {}).get("params.yaml", {}).get("data") or {})


def _cell(line: Line, name: str) -> str:
    return f"{line.numbers[name][1]:.4g}" if name in line.numbers else ""


def _age(timestamp: str | None, now: float) -> str:
    if timestamp is None:
        return ""
    seconds = now - datetime.fromisoformat(timestamp).timestamp()
    return next((f"{seconds / unit:.0f} {name}" for unit, name in AGES if seconds >= unit), "now")
