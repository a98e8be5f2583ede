"""What it takes to reach a distance: images, operations and seconds of training, where a figure has several lengths."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """A training of one length, and what came of it."""

    images: float
    value: float  # the metric
    operations: float = 0.0  # FLOP per image; 0: unknown
    rate: float = 0.0  # images/s; 0: unknown


@dataclass(frozen=True)
class Reached:
    """When a line of the figure first reaches a value; None: not within its lengths, or unknown."""

    images: float | None = None
    operations: float | None = None  # FLOP
    seconds: float | None = None


def common_level(lines: Mapping[str, Sequence[Length]], lower_is_better: bool) -> float:
    """The best value that all lines reach."""
    best, worst = (min, max) if lower_is_better else (max, min)
    return worst(best(length.value for length in line) for line in lines.values())


def reached(line: Sequence[Length], level: float, lower_is_better: bool) -> Reached:
    """By straight lines between the lengths of a training; its shortest counts where that is good enough."""
    ordered = sorted(line, key=lambda length: length.images)
    images = _crossing([(one.images, one.value if lower_is_better else -one.value) for one in ordered],
                       level if lower_is_better else -level)  # fmt: skip
    if images is None:
        return Reached()
    operations, rate = ordered[0].operations, ordered[0].rate
    return Reached(images, images * operations if operations else None, images / rate if rate else None)


def _crossing(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """Where y first is at most `level`."""
    if points and points[0][1] <= level:
        return points[0][0]
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        if next_y <= level < y:
            return x + (next_x - x) * (y - level) / (y - next_y)
    return None
