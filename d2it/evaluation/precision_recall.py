"""Improved precision and recall (Kynkäänniemi et al. 2019), and nearest neighbours, from squared distances.

The manifold of a set is the union of balls around its features, each of which reaches to the k-th nearest other feature
of its set; the ball's surface belongs to it. The ADM evaluator has it the same way, with all samples against 10 000
real images; both numbers depend on how many there are on each side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2it.evaluation.blocks import ROWS, block, of_each_block
from d2it.finite import require_finite


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float  # samples that lie within the real manifold
    recall: float  # real images that lie within the samples' manifold


def nearest(features: NDArray[np.floating], others: NDArray[np.floating], rows: int = ROWS) -> NDArray[np.int64]:
    """Index of the nearest of `others` (M, D) for each of `features` (N, D): (N,)."""

    def of_block(start: int) -> NDArray[np.int64]:
        x = block(features, start, rows)
        norms = squared_norms(x)
        best, index = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
        for other in range(0, len(others), rows):
            y = block(others, other, rows)
            distances = squared_distances(x @ y.T, norms, squared_norms(y))
            closest = distances.argmin(1)
            distance = distances[np.arange(len(x)), closest]
            index = np.where(distance < best, other + closest, index)
            best = np.minimum(best, distance)
        return index

    return np.concatenate(of_each_block(of_block, len(features), rows))


def squared_norms(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """|x|² of each feature: (N, D) -> (N,).

    Raises:
        NonFiniteError: features hold NaN or infinity.
    """
    norms: NDArray[np.float64] = (features**2).sum(1)
    require_finite(norms, "squared norms of features")
    return norms


def squared_distances(
    products: NDArray[np.float64], of_rows: NDArray[np.float64], of_columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From dot products (N, M) and squared norms; float64, in which |a|² + |b|² - 2 a·b loses nothing that matters."""
    distances: NDArray[np.float64] = (of_rows[:, None] + of_columns - 2 * products).clip(0)
    return distances
