"""Better, worse or inconclusive: each pair of a table's settings, with the error of their difference.

Our own, as the paper prints one number per setting: docs/verdicts.md has the rule and its reasons.
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped] # Student's distribution, and its inverse

Verdict = Literal["better", "worse", "inconclusive"]
CLOSER, SAME = "closer than the floor", "the same numbers"  # why no seed will decide a pair


class Cell(NamedTuple):
    """What two settings have in common where they are compared."""

    seed: int  # of the trainings
    sampling_seed: int = 0


Values = Mapping[Cell, float]


@dataclass(frozen=True)
class Rule:
    """When a pair is decided."""

    alpha: float = 0.05  # the chance that any pair of a table without differences is decided
    floor: float = 0.013  # differences below this share of the two means decide nothing
    power: float = 0.8  # with which a run sees the smallest difference that it could have seen
    looks: int = 1  # at most so often is a table looked at before its seeds are final


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two settings of a table, by their places; the difference is the first's mean minus the second's."""

    first: int
    second: int
    differences: tuple[float, ...]  # one per training seed that both have
    relative: float  # the difference over the mean of both
    level: float  # two-sided, at which this pair was tested
    p: float  # adjusted for the table's pairs and for the looks
    half_width: float  # of the interval at that level; inf for fewer than two seeds
    detectable: float  # the smallest true difference that these seeds would have shown
    verdict: Verdict  # of the first
    why: str  # if inconclusive

    @property
    def difference(self) -> float:
        """Mean over training seeds; nan without one."""
        return statistics.fmean(self.differences) if self.differences else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation of the differences over training seeds; nan for fewer than two."""
        return statistics.stdev(self.differences) if len(self.differences) > 1 else math.nan


def by_seed(values: Values, cells: Iterable[Cell] | None = None) -> dict[int, float]:
    """Training seed -> mean over its sampling seeds; of `cells` alone, if given."""
    seeds: dict[int, list[float]] = {}
    for cell in sorted(values if cells is None else cells):
        seeds.setdefault(cell.seed, []).append(values[cell])
    return {seed: statistics.fmean(of_seed) for seed, of_seed in seeds.items()}


def interval(values: Sequence[float], level: float = 0.05) -> float:
    """Half the width of Student's interval of the mean at 1 - `level`; inf for fewer than two values."""
    if len(values) < 2:
        return math.inf
    error = statistics.stdev(values) / math.sqrt(len(values))
    return _quantile(level / 2, len(values) - 1) * error


def verdicts(settings: Sequence[Values], lower_is_better: bool, rule: Rule = Rule()) -> list[Pair]:
    """All pairs of settings, those of the table's order first.

    A paired t-test over training seeds: a trained model is one draw, however often it is sampled. Holm's step-down over
    all pairs bounds the chance of any wrong decision by `alpha`; Bonferroni over the looks keeps that bound.
    """
    paired = {places: _differences(settings[places[0]], settings[places[1]])
              for places in itertools.combinations(range(len(settings)), 2)}  # fmt: skip
    raw = {places: _p_value(differences) for places, (differences, _) in paired.items()}
    pairs, adjusted, open_ = {}, 0.0, True
    for rank, places in enumerate(sorted(paired, key=lambda places: raw[places])):
        hypotheses = rule.looks * (len(paired) - rank)
        adjusted = max(adjusted, min(1.0, hypotheses * raw[places]))
        open_ = open_ and adjusted < rule.alpha
        pairs[places] = _pair(places, *paired[places], lower=lower_is_better, level=rule.alpha / hypotheses,
                              p=adjusted, significant=open_, rule=rule)  # fmt: skip
    return [pairs[places] for places in paired]


def seeds_to_decide(pair: Pair, rule: Rule, most: int) -> int | None:
    """Seeds with which the pair would be decided if its differences go on as they are; None: more than `most`."""
    for seeds in range(len(pair.differences) + 1, most + 1):
        margin = _quantile(pair.level / 2, seeds - 1) * pair.spread / math.sqrt(seeds)
        if margin < abs(pair.difference) and abs(pair.relative) >= rule.floor:
            return seeds
    return None


def _differences(first: Values, second: Values) -> tuple[tuple[float, ...], float]:
    """Of each common training seed over their common sampling seeds; and the mean of both settings there."""
    cells = first.keys() & second.keys()
    a, b = by_seed(first, cells), by_seed(second, cells)
    both = [*a.values(), *b.values()]
    return tuple(a[seed] - b[seed] for seed in a), statistics.fmean(both) if both else math.nan


def _p_value(differences: Sequence[float]) -> float:
    """Two-sided, of a mean difference of 0; 1 for fewer than two."""
    if len(differences) < 2:
        return 1.0
    mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(len(differences))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(stdtr(len(differences) - 1, -abs(mean) / error))


def _pair(
    places: tuple[int, int], differences: tuple[float, ...], mean: float, *, lower: bool, level: float, p: float,
    significant: bool, rule: Rule,
) -> Pair:  # fmt: skip
    difference = statistics.fmean(differences) if differences else math.nan
    half_width = interval(differences, level)
    relative = difference / abs(mean) if mean else math.nan
    verdict: Verdict = "inconclusive"
    if significant and abs(relative) >= rule.floor:
        verdict = "better" if (difference < 0) == lower else "worse"
    return Pair(
        first=places[0], second=places[1], differences=differences, relative=relative, level=level, p=p,
        half_width=half_width, detectable=_detectable(differences, level, rule.power), verdict=verdict,
        why=_why(differences, difference, half_width, rule.floor * abs(mean)) if verdict == "inconclusive" else "",
    )  # fmt: skip


def _why(differences: Sequence[float], difference: float, half_width: float, floor: float) -> str:
    if len(differences) < 2:
        return "fewer than two seeds"
    if not any(differences):
        return SAME
    if abs(difference) + half_width <= floor:
        return CLOSER
    if abs(difference) > half_width:
        return "below the floor" if abs(difference) < floor else "another pair is too close"
    return "too few seeds"


def _detectable(differences: Sequence[float], level: float, power: float) -> float:
    """A true difference of this size is seen with `power`."""
    if len(differences) < 2:
        return math.inf
    freedom = len(differences) - 1
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return (_quantile(level / 2, freedom) + _quantile(1 - power, freedom)) * error


def _quantile(tail: float, freedom: int) -> float:
    """Of Student's distribution, with `tail` above it."""
    return -float(stdtrit(freedom, tail))
