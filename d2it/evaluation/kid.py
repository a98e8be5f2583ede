"""Kernel Inception Distance (Bińkowski et al. 2018) of all features, without bias, and its standard error.

The squared maximum mean discrepancy with k(x, y) = (x·y / D + 1)³: the mean of k over pairs of different real features,
plus the same of samples, minus twice the mean over mixed pairs. Papers average it over subsets of 1000 features, whose
expectation is the same, and give the spread of the subsets, which is not that of the average.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number and how far from it another draw of as many images would lie."""

    value: float  # without bias, so that sets of the same distribution may lie below 0
    standard_error: float


def kernel(products: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """k of pairs of features, from their dot products; `width`: D."""
    k = products / width + 1
    k *= k * k
    return k


def estimate(of_real: Sums, of_samples: Sums, mixed_of_real: Sums, mixed_of_samples: Sums) -> Estimate:
    """KID from the sums of k over the pairs of each feature: with its own set (N,) and (M,), with the other one.

    The standard error is the jackknife's, over images of both sets (Efron and Stein 1981): it is rather too large than
    too small, by up to √2 where the distributions are the same.
    """
    n, m = len(of_real), len(of_samples)
    within_real, within_samples, mixed = of_real.sum(), of_samples.sum(), mixed_of_real.sum()
    value = within_real / (n * (n - 1)) + within_samples / (m * (m - 1)) - 2 * mixed / (n * m)
    # What remains without one feature: its pairs are gone from both sums that it takes part in.
    without_real = (within_real - 2 * of_real) / ((n - 1) * (n - 2)) - 2 * (mixed - mixed_of_real) / ((n - 1) * m)
    without_sample = (
        (within_samples - 2 * of_samples) / ((m - 1) * (m - 2)) - 2 * (mixed - mixed_of_samples) / ((m - 1) * n)
    )  # fmt: skip
    variance = (n - 1) * without_real.var() + (m - 1) * without_sample.var()
    return Estimate(float(value), float(np.sqrt(variance)))
