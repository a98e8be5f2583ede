"""Improved precision and recall (Kynkäänniemi et al. 2019), and nearest neighbours, in batches of distances."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROWS = 1024  # of a block of distances; 80 MB beside 10 000 images


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float  # samples that lie within the real manifold
    recall: float  # real images that lie within the samples' manifold


def precision_recall(
    real: NDArray[np.floating], samples: NDArray[np.floating], neighbours: int, rows: int = ROWS
) -> PrecisionRecall:
    """Compare features (N, D) and (M, D).

    The manifold of a set is the union of balls around its features, each of which reaches to the k-th nearest other
    feature of its set, k = `neighbours`; the ball's surface belongs to it, as in the ADM evaluator.

    Raises:
        ValueError: a set has no more than k features.
    """
    for name, features in (("real", real), ("sampled", samples)):
        if len(features) <= neighbours:
            raise ValueError(f"neighbours = {neighbours}: must be below the number of {name} images, {len(features)}")
    return PrecisionRecall(
        precision=_share_within(samples, real, _radii(real, neighbours, rows), rows),
        recall=_share_within(real, samples, _radii(samples, neighbours, rows), rows),
    )


def nearest(features: NDArray[np.floating], others: NDArray[np.floating], rows: int = ROWS) -> NDArray[np.int64]:
    """Index of the nearest of `others` (M, D) for each of `features` (N, D): (N,)."""
    return np.concatenate([distances.argmin(1) for _, distances in _blocks(features, others, rows)])


def _radii(features: NDArray[np.floating], neighbours: int, rows: int) -> NDArray[np.float64]:
    """Squared distance of each feature to its k-th nearest other one, (N,)."""
    radii = []
    for start, distances in _blocks(features, features, rows):
        itself = np.arange(len(distances))
        distances[itself, start + itself] = np.inf
        radii.append(np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1])
    return np.concatenate(radii)


def _share_within(
    points: NDArray[np.floating], centres: NDArray[np.floating], radii: NDArray[np.float64], rows: int
) -> float:
    within = [(distances <= radii).any(1) for _, distances in _blocks(points, centres, rows)]
    return float(np.concatenate(within).mean())


def _blocks(a: NDArray[np.floating], b: NDArray[np.floating], rows: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Squared distances (up to `rows`, M) between consecutive rows of `a`, from the number given, and all of `b`.

    In float64, where |a|² + |b|² - 2 a·b loses nothing that matters.
    """
    others = b.astype(np.float64)
    norms = (others**2).sum(1)
    for start in range(0, len(a), rows):
        block = a[start : start + rows].astype(np.float64)
        distances = (block**2).sum(1)[:, None] + norms - 2 * block @ others.T
        yield start, distances.clip(0)
