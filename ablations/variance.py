"""Which seeds make the spread between runs: variance over training seeds and over sampling seeds, apart."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ablations.verdict import Values, by_seed


class Spread(NamedTuple):
    """Standard deviations of single runs; None where it was not varied."""

    training: float | None  # over training seeds, without sampling's part
    sampling: float | None  # over sampling seeds of the same model


def spread(settings: Sequence[Values]) -> Spread:
    """Pooled over settings: random effects of training seeds, and of samplings within each.

    The variance of a model's mean over K samplings holds 1/K of sampling's, which is taken off; at least 0 is left.
    """
    within: list[tuple[float, int]] = []  # variance, degrees of freedom
    between: list[tuple[float, int]] = []
    inverse: list[float] = []  # 1 / samplings
    for values in settings:
        means = [*by_seed(values).values()]
        for seed in by_seed(values):
            of_seed = [value for cell, value in values.items() if cell.seed == seed]
            inverse.append(1 / len(of_seed))
            if len(of_seed) > 1:
                within.append((statistics.variance(of_seed), len(of_seed) - 1))
        if len(means) > 1:
            between.append((statistics.variance(means), len(means) - 1))
    sampling, seeds = _pooled(within), _pooled(between)
    if seeds is not None and sampling is not None:
        seeds = max(0.0, seeds - sampling * statistics.fmean(inverse))
    return Spread(*(None if variance is None else math.sqrt(variance) for variance in (seeds, sampling)))


def _pooled(variances: Sequence[tuple[float, int]]) -> float | None:
    freedom = sum(degrees for _, degrees in variances)
    return sum(variance * degrees for variance, degrees in variances) / freedom if freedom else None
