"""Kernel Inception Distance (Bińkowski et al. 2018) of all features, without bias, and its standard error."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2it.evaluation.blocks import ROWS, block, of_each_block
from d2it.finite import require_finite

Sums = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number and how far from it another draw of as many images would lie."""

    value: float  # without bias, so that sets of the same distribution may lie below 0
    standard_error: float


def kid(real: NDArray[np.floating], samples: NDArray[np.floating], rows: int = ROWS) -> Estimate:
    """Squared maximum mean discrepancy between features (N, D) and (M, D), with k(x, y) = (x·y / D + 1)³.

    Mean of k over pairs of different real features, plus the same of samples, minus twice the mean over mixed pairs.
    Papers average it over subsets of 1000 features, whose expectation is the same, and give the spread of the subsets,
    which is not that of the average. The standard error here is the jackknife's, over images of both sets (Efron and
    Stein 1981): it is rather too large than too small, by up to √2 where the distributions are the same.

    Raises:
        ValueError: a set has fewer than 3 features.
        NonFiniteError: features hold NaN or infinity.
    """
    n, m = len(real), len(samples)
    for name, count in (("real", n), ("sampled", m)):
        if count < 3:
            raise ValueError(f"{count} {name} images: KID and its standard error need at least 3")
    of_real, of_samples = _sums_within(real, rows), _sums_within(samples, rows)
    mixed_of_real, mixed_of_samples = _sums(real, samples, rows, within=False)
    within_real, within_samples, mixed = of_real.sum(), of_samples.sum(), mixed_of_real.sum()

    value = within_real / (n * (n - 1)) + within_samples / (m * (m - 1)) - 2 * mixed / (n * m)
    # What remains without one feature: its pairs are gone from both sums that it takes part in.
    without_real = (within_real - 2 * of_real) / ((n - 1) * (n - 2)) - 2 * (mixed - mixed_of_real) / ((n - 1) * m)
    without_sample = (
        (within_samples - 2 * of_samples) / ((m - 1) * (m - 2)) - 2 * (mixed - mixed_of_samples) / ((m - 1) * n)
    )  # fmt: skip
    variance = (n - 1) * without_real.var() + (m - 1) * without_sample.var()
    return Estimate(float(value), float(np.sqrt(variance)))


def _sums_within(features: NDArray[np.floating], rows: int) -> Sums:
    """Sum of k over the pairs of each feature with the others of its set, (N,)."""
    later, earlier = _sums(features, features, rows, within=True)
    return later + earlier


def _sums(a: NDArray[np.floating], b: NDArray[np.floating], rows: int, *, within: bool) -> tuple[Sums, Sums]:
    """Sums of k over rows (N,) and columns (M,) of all pairs; `within` one set, over each unordered pair once."""

    def of_block(start: int) -> tuple[Sums, Sums]:
        x = block(a, start, rows)
        over_rows, over_columns = np.zeros(len(x)), np.zeros(len(b))
        for other in range(start if within else 0, len(b), rows):
            kernel = x @ block(b, other, rows).T / x.shape[1] + 1
            kernel *= kernel * kernel
            if within and other == start:
                kernel = np.triu(kernel, 1)
            over_rows += kernel.sum(1)
            over_columns[other : other + rows] += kernel.sum(0)
        return over_rows, over_columns

    blocks = of_each_block(of_block, len(a), rows)
    over_rows = np.concatenate([part for part, _ in blocks])
    over_columns: Sums = np.sum([part for _, part in blocks], axis=0)
    require_finite(over_rows, "kernels of features")
    return over_rows, over_columns
