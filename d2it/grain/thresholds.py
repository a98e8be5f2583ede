"""Dynamic Grained Coding: which regions are coarse and which are fine (paper section 3.1)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from d2it.grain.order_statistics import order_statistics

QUANTILES = 4097


def entropy_quantiles(blocks: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Evenly spaced quantiles, levels 0 to 1, of all region entropies of the training set: (4097,) float64, nats.

    `blocks`: arrays of any shape that hold them together; each is read twice, and no two at a time.
    """
    place = np.linspace(0, 1, QUANTILES) * (sum(block.size for block in blocks) - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, below[-1])
    low, high = order_statistics(blocks, np.concatenate([below, above])).astype(np.float64).reshape(2, -1)
    quantiles: NDArray[np.float64] = low + (place - below) * (high - low)
    return quantiles


def entropy_thresholds(quantiles: NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    """k - 1 ascending entropies between the k grains, such that a share `shares[g]` of training regions has grain g.

    The thresholds belong to the data set and not to the image: one image may be all fine (our reading).
    A share of 0 or 1 holds for any image, also for entropies that training never saw.
    """
    levels = np.linspace(0, 1, len(quantiles))
    thresholds = []
    for level in np.cumsum(shares)[:-1]:
        if level <= 0:
            thresholds.append(-np.inf)
        elif level >= 1 - 1e-9:
            thresholds.append(np.inf)
        else:
            thresholds.append(float(np.interp(level, levels, quantiles)))
    return thresholds


def reached_shares(quantiles: NDArray[np.float64], thresholds: Sequence[float]) -> list[float]:
    """Share of training regions that gets each grain; others than were asked for where many entropies are equal."""
    counts = np.bincount(grain_maps(quantiles, thresholds), minlength=len(thresholds) + 1)
    return [float(count) / len(quantiles) for count in counts]


def grain_maps(entropy: NDArray[np.floating], thresholds: Sequence[float]) -> NDArray[np.uint8]:
    """Grain of each region, 0 = coarsest to k - 1 = finest: entropies of any shape, in nats -> uint8 of that shape."""
    return np.searchsorted(np.asarray(thresholds, np.float64), entropy, side="left").astype(np.uint8)


def grain_counts(maps: NDArray[np.uint8], grains: int) -> NDArray[np.int64]:
    """Number of regions of each grain, coarsest first, in each map (N, h, w): (N, k)."""
    return np.stack([(maps == grain).sum((1, 2)) for grain in range(grains)], axis=1)
