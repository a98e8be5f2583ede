"""Improved precision and recall (Kynkäänniemi et al. 2019), and nearest neighbours, in blocks of distances."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2it.evaluation.blocks import ROWS, block, of_each_block
from d2it.finite import require_finite


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float  # samples that lie within the real manifold
    recall: float  # real images that lie within the samples' manifold


def precision_recall(
    real: NDArray[np.floating], samples: NDArray[np.floating], neighbours: int, rows: int = ROWS
) -> PrecisionRecall:
    """Compare features (N, D) and (M, D), arrays or files that are read in blocks (np.memmap).

    The manifold of a set is the union of balls around its features, each of which reaches to the k-th nearest other
    feature of its set, k = `neighbours`; the ball's surface belongs to it. The ADM evaluator has it the same way, with
    all samples against 10 000 real images; both numbers depend on how many there are on each side.

    Raises:
        ValueError: a set has no more than k features.
        NonFiniteError: features hold NaN or infinity.
    """
    for name, features in (("real", real), ("sampled", samples)):
        if len(features) <= neighbours:
            raise ValueError(f"neighbours = {neighbours}: must be below the number of {name} images, {len(features)}")
    real_radii, sample_radii = _radii(real, neighbours, rows), _radii(samples, neighbours, rows)

    def of_block(start: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which samples of this block lie within the real manifold, and which real images within these samples'."""
        x, radii = block(samples, start, rows), sample_radii[start : start + rows, None]
        precise, recalled = np.zeros(len(x), bool), np.zeros(len(real), bool)
        for other in range(0, len(real), rows):
            columns = slice(other, other + rows)
            distances = _distances(x, block(real, other, rows))
            precise |= (distances <= real_radii[columns]).any(1)
            recalled[columns] = (distances <= radii).any(0)
        return precise, recalled

    blocks = of_each_block(of_block, len(samples), rows)
    return PrecisionRecall(
        precision=float(np.concatenate([precise for precise, _ in blocks]).mean()),
        recall=float(np.any([recalled for _, recalled in blocks], axis=0).mean()),
    )


def nearest(features: NDArray[np.floating], others: NDArray[np.floating], rows: int = ROWS) -> NDArray[np.int64]:
    """Index of the nearest of `others` (M, D) for each of `features` (N, D): (N,)."""

    def of_block(start: int) -> NDArray[np.int64]:
        x = block(features, start, rows)
        best, index = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
        for other in range(0, len(others), rows):
            distances = _distances(x, block(others, other, rows))
            closest = distances.argmin(1)
            distance = distances[np.arange(len(x)), closest]
            index = np.where(distance < best, other + closest, index)
            best = np.minimum(best, distance)
        return index

    return np.concatenate(of_each_block(of_block, len(features), rows))


def _radii(features: NDArray[np.floating], neighbours: int, rows: int) -> NDArray[np.float64]:
    """Squared distance of each feature to its k-th nearest other one, (N,)."""

    def of_block(start: int) -> NDArray[np.float64]:
        x = block(features, start, rows)
        smallest = np.full((len(x), neighbours), np.inf)
        for other in range(0, len(features), rows):
            distances = _distances(x, block(features, other, rows))
            if other == start:
                np.fill_diagonal(distances, np.inf)  # itself
            candidates = np.concatenate([smallest, distances], axis=1)
            smallest = np.partition(candidates, neighbours - 1, axis=1)[:, :neighbours]
        radii: NDArray[np.float64] = smallest.max(1)
        return radii

    return np.concatenate(of_each_block(of_block, len(features), rows))


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (N, M); float64, in which |a|² + |b|² - 2 a·b loses nothing that matters.

    Raises:
        NonFiniteError: a or b holds NaN or infinity.
    """
    of_a, of_b = (a**2).sum(1), (b**2).sum(1)
    require_finite(of_a, "squared norms of features")
    require_finite(of_b, "squared norms of features")
    distances: NDArray[np.float64] = of_a[:, None] + of_b - 2 * a @ b.T
    return distances.clip(0)
