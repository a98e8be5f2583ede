"""Means and spreads in numbers, and whether a curve is the paper's, in words."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ablations.tables import Shape

NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class Summary:
    """One setting over its seeds."""

    mean: float
    spread: float | None  # standard deviation over training seeds; None for one seed
    n: int

    def text(self) -> str:
        """'23.10 ± 0.40 (n = 2)', on two lines where the page is narrow."""
        spread = "" if self.spread is None else f"{NO_BREAK}±{NO_BREAK}{number(self.spread, self.mean)}"
        return f"{number(self.mean)}{spread} (n{NO_BREAK}={NO_BREAK}{self.n})"


def number(value: float, like: float | None = None) -> str:
    """Four significant digits at least; with as many decimals as `like` gets."""
    scale = abs(value if like is None else like)
    decimals = 2 if scale >= 10 else 3 if scale >= 1 else 4
    return f"{value:.{decimals}f}"


def summarize(values: Sequence[float]) -> Summary | None:
    """None where there is nothing."""
    if not values:
        return None
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def best(values: Sequence[float | None], lower_is_better: bool | None) -> float | None:
    """The best of those that are there; None where none is better than another."""
    if lower_is_better is None:
        return None
    known = [value for value in values if value is not None]
    return (min if lower_is_better else max)(known, default=None)


def difference(value: float | None, best_value: float | None) -> str:
    """'+0.40', with the best value's decimals; 'best', or empty where one of both is missing."""
    if value is None or best_value is None:
        return ""
    if value == best_value:
        return "best"
    return f"{'+' if value > best_value else '−'}{number(abs(value - best_value), best_value)}"


def shape_in_words(shape: Shape, x: Sequence[float | None], ours: Sequence[Summary | None], lower: bool) -> str:
    """Whether a curve does what the paper's figure shows."""
    points = sorted((a, b.mean) for a, b in zip(x, ours, strict=True) if a is not None and b is not None)
    if len(points) < 3:
        return f"The paper's curve: {shape}. Too few points to compare ours with it."
    means = [mean for _, mean in points]
    if shape == "falls":
        falling = sum(b < a for a, b in itertools.pairwise(means))
        holds = falling == len(means) - 1
        return f"The paper's curve falls; ours falls in {falling} of {len(means) - 1} steps{'' if holds else ' only'}."
    place = means.index((min if lower else max)(means))
    where = "in between" if 0 < place < len(means) - 1 else "an end"
    return f"The paper's curve has its best in between; ours has it at {points[place][0]:g}, {where}."
