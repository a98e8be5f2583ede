"""What a table says: each metric's numbers by setting, its pairs with their verdicts, and the paper's beside them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ablations import experiments
from ablations.looks import read, record_of
from ablations.plan import Plan
from ablations.results import Results
from ablations.standing import Standing, chosen_plan, key_of, standings_of
from ablations.summary import Summary, summarize
from ablations.tables import Metric, Table
from ablations.verdict import Pair, Rule, Values, by_seed, interval, verdicts

Agreement = Literal["agrees", "contradicts", "cannot tell", ""]  # with the paper; empty where it ranks no such pair


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A metric of a table."""

    metric: Metric
    key: str  # of the numbers: the metric's, or its stand-in's
    labels: tuple[str, ...]
    values: tuple[Values, ...]  # of each setting
    paper: tuple[float | None, ...]
    pairs: tuple[Pair, ...]  # of settings that have numbers; none where no value is better than another

    @property
    def stand_in(self) -> str:
        """The number's own name where it stands in for the metric; nobody may take it for FID."""
        return "" if self.key == self.metric.key else self.key.partition(".")[2].replace("_", " ")

    @property
    def name(self) -> str:
        """Of the metric, with its stand-in."""
        return f"{self.metric.name}, here {self.stand_in}" if self.stand_in else self.metric.name

    @property
    def summaries(self) -> list[Summary | None]:
        """Mean and spread of each setting over training seeds."""
        return [summarize([*by_seed(one).values()]) for one in self.values]

    def half_width(self, place: int) -> float:
        """Of a setting's own 95 % interval over training seeds; inf for fewer than two."""
        return interval([*by_seed(self.values[place]).values()])

    def agreement(self, pair: Pair) -> Agreement:
        """Whether a verdict is the paper's order of the two."""
        first, second = self.paper[pair.first], self.paper[pair.second]
        if first is None or second is None or first == second:
            return ""
        if pair.verdict == "inconclusive":
            return "cannot tell"
        paper: str = "better" if (first < second) == self.metric.lower_is_better else "worse"
        return "agrees" if pair.verdict == paper else "contradicts"


@dataclass(frozen=True, kw_only=True)
class TableFindings:
    """A table with all that is there of it."""

    plan: Plan
    standings: tuple[Standing, ...]
    metrics: tuple[Finding, ...]
    rule: Rule

    @property
    def names(self) -> list[str]:
        """Of the experiments that are done, each once."""
        done = (result.name for one in self.standings for result in one.results if result.state == "done")
        return [*dict.fromkeys(done)]


def find(table: Table, root: Path, preset: str = "", seeds: int = 0, *, sampling_seeds: int = 0) -> TableFindings:
    """Whatever of a table is there; by default with the preset with which most of it was asked for, and all its seeds.

    Raises:
        StageError: no such preset, or DVC does not answer.
        LooksError: the record of its looks is damaged.
    """
    results = Results(root, experiments.done(root), experiments.queue(root).tasks)
    chosen = chosen_plan(table, root, results, preset=preset, seeds=seeds, sampling_seeds=sampling_seeds)
    looks = read(record_of(root, chosen))
    rule = Rule(looks=looks.count if looks else 1)
    standings = tuple(standings_of(chosen, results))
    metrics = tuple(findings(table.metrics, standings, rule))
    return TableFindings(plan=chosen, standings=standings, metrics=metrics, rule=rule)


def findings(metrics: Sequence[Metric], standings: Sequence[Standing], rule: Rule) -> list[Finding]:
    """Of all metrics of a table."""
    return [_finding(metric, place, standings, rule) for place, metric in enumerate(metrics)]


def as_json(table: TableFindings) -> dict[str, Any]:
    """For scripts: what the page shows, unrounded; null where a number would be infinite or is missing."""
    return {
        "table": table.plan.table.name,
        "preset": table.plan.base,
        "seeds": table.plan.seeds,
        "sampling_seeds": table.plan.sampling_seeds,
        "rule": asdict(table.rule),
        "metrics": [_metric_as_json(one) for one in table.metrics],
    }


def _metric_as_json(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.metric.name,
        "key": finding.key,
        "lower_is_better": finding.metric.lower_is_better,
        "settings": [
            {
                "label": label,
                "values": [{**cell._asdict(), "value": value} for cell, value in sorted(values.items())],
                "mean": None if summary is None else summary.mean,
                "spread": None if summary is None else summary.spread,
                "half_width_95": _finite(finding.half_width(place)),
                "paper": paper,
            }
            for place, (label, values, summary, paper) in enumerate(
                zip(finding.labels, finding.values, finding.summaries, finding.paper, strict=True)
            )
        ],
        "pairs": [
            {
                "first": finding.labels[pair.first],
                "second": finding.labels[pair.second],
                "verdict": pair.verdict,
                "why": pair.why,
                "seeds": len(pair.differences),
                "difference": _finite(pair.difference),
                "relative": _finite(pair.relative),
                "half_width": _finite(pair.half_width),
                "level": pair.level,
                "p": pair.p,
                "detectable": _finite(pair.detectable),
                "paper": finding.agreement(pair) or None,
            }
            for pair in finding.pairs
        ],
    }


def _finding(metric: Metric, place: int, standings: Sequence[Standing], rule: Rule) -> Finding:
    key = key_of(metric, standings)
    values = [one.values(key, metric.unit) for one in standings]
    possible = [number for number, one in enumerate(standings) if not one.row.refused]  # with this preset
    pairs: list[Pair] = []
    if metric.lower_is_better is not None:
        for pair in verdicts([values[number] for number in possible], metric.lower_is_better, rule):
            if pair.differences:
                pairs.append(replace(pair, first=possible[pair.first], second=possible[pair.second]))
    return Finding(
        metric=metric, key=key, labels=tuple(one.row.label for one in standings), values=tuple(values),
        paper=tuple(dict(enumerate(one.row.setting.paper)).get(place) for one in standings), pairs=tuple(pairs),
    )  # fmt: skip


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
