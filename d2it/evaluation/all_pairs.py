"""KID, precision and recall: what compares all pairs of features, from one product of each two blocks.

The product takes nearly all of the time, so a pair is multiplied once: for both metrics, and within a set for both of
its features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2it.evaluation.blocks import ROWS, block, of_each_block
from d2it.evaluation.kid import Estimate, estimate, kernel
from d2it.evaluation.precision_recall import PrecisionRecall, squared_distances, squared_norms
from d2it.finite import require_finite

Features = NDArray[np.floating]  # (N, D), an array or a file that is read in blocks (np.memmap)
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Within:
    """Of the pairs of one set; None where it is not wanted."""

    kernels: Numbers | None  # (N,): sums of k over the pairs of each feature with the others
    radii: Numbers | None  # (N,): squared distance of each feature to its k-th nearest other one


@dataclass(frozen=True)
class Between:
    """Of the pairs of a sample and a real image; None where it is not wanted."""

    of_real: Numbers | None  # (N,): sums of k over the pairs of each real image
    of_samples: Numbers | None  # (M,)
    shares: PrecisionRecall | None


def kid(real: Features, samples: Features, rows: int = ROWS) -> Estimate:
    """KID of features (N, D) and (M, D) alone; see `kid.py`.

    Raises:
        ValueError: a set has fewer than 3 features.
        NonFiniteError: features hold NaN or infinity.
    """
    measured, _ = kid_and_precision_recall(real, samples, neighbours=None, rows=rows)
    assert measured is not None
    return measured


def precision_recall(real: Features, samples: Features, neighbours: int, rows: int = ROWS) -> PrecisionRecall:
    """Precision and recall of features (N, D) and (M, D) alone; see `precision_recall.py`.

    Raises:
        ValueError: a set has no more than `neighbours` features.
        NonFiniteError: features hold NaN or infinity.
    """
    _, shares = kid_and_precision_recall(real, samples, with_kid=False, neighbours=neighbours, rows=rows)
    assert shares is not None
    return shares


def kid_and_precision_recall(
    real: Features, samples: Features, *, with_kid: bool = True, neighbours: int | None, rows: int = ROWS
) -> tuple[Estimate | None, PrecisionRecall | None]:
    """Both, or one of them: features (N, D) and (M, D).

    Args:
        real: of real images.
        samples: of samples.
        with_kid: whether KID is wanted.
        neighbours: k of precision and recall; None where they are not wanted.
        rows: of a block.

    Raises:
        ValueError: too few features of a set for what is wanted.
        NonFiniteError: features hold NaN or infinity.
    """
    for name, features in (("real", real), ("sampled", samples)):
        count = len(features)
        if with_kid and count < 3:
            raise ValueError(f"{count} {name} images: KID and its standard error need at least 3")
        if neighbours is not None and count <= neighbours:
            raise ValueError(f"neighbours = {neighbours}: must be below the number of {name} images, {count}")
    of_real, of_samples = (_within(features, with_kid, neighbours, rows) for features in (real, samples))
    mixed = _between(real, samples, of_real, of_samples, rows=rows)
    if of_real.kernels is None or of_samples.kernels is None or mixed.of_real is None or mixed.of_samples is None:
        return None, mixed.shares
    return estimate(of_real.kernels, of_samples.kernels, mixed.of_real, mixed.of_samples), mixed.shares


def _within(features: Features, with_kid: bool, neighbours: int | None, rows: int) -> Within:
    """Each unordered pair of blocks once, by the thread of the earlier block."""
    N, k = len(features), neighbours or 0

    def of_block(start: int) -> tuple[Numbers, Numbers, Numbers]:
        """Sums of k over this block's rows, over all columns, and the k nearest (N, k) by what this block has seen."""
        x, columns = block(features, start, rows), np.zeros(N)
        norms, sums, nearest = squared_norms(x), np.zeros(len(x)), np.full((N, k), np.inf)
        for other in range(start, N, rows):
            y = x if other == start else block(features, other, rows)
            product = x @ y.T
            of_x, of_y = slice(start, start + len(x)), slice(other, other + len(y))
            if k:
                distances = squared_distances(product, norms, squared_norms(y))
                if other == start:
                    np.fill_diagonal(distances, np.inf)  # itself
                else:
                    nearest[of_y] = _k_smallest(nearest[of_y], distances.T)
                nearest[of_x] = _k_smallest(nearest[of_x], distances)
            if with_kid:
                kernels = kernel(product, x.shape[1])
                if other == start:
                    kernels = np.triu(kernels, 1)
                sums += kernels.sum(1)
                columns[of_y] += kernels.sum(0)
        return sums, columns, nearest

    blocks = of_each_block(of_block, N, rows)
    kernels = np.sum([columns for _, columns, _ in blocks], axis=0) + np.concatenate([sums for sums, _, _ in blocks])
    require_finite(kernels, "kernels of features")
    nearest = np.concatenate([seen for _, _, seen in blocks], 1)
    return Within(kernels if with_kid else None, np.partition(nearest, k - 1, 1)[:, k - 1] if k else None)


def _between(real: Features, samples: Features, of_real: Within, of_samples: Within, *, rows: int) -> Between:
    """Each real image with each sample."""
    with_kid = of_real.kernels is not None

    def of_block(start: int) -> tuple[Numbers, Numbers, NDArray[np.bool_], NDArray[np.bool_]]:
        """Sums of k over this block of real images and over all samples; which of both lie within the other's balls."""
        x = block(real, start, rows)
        norms, sums, columns = squared_norms(x), np.zeros(len(x)), np.zeros(len(samples))
        recalled, precise = np.zeros(len(x), bool), np.zeros(len(samples), bool)
        for other in range(0, len(samples), rows):
            y, of_y = block(samples, other, rows), slice(other, other + rows)
            product = x @ y.T
            if of_real.radii is not None and of_samples.radii is not None:
                distances = squared_distances(product, norms, squared_norms(y))
                recalled |= (distances <= of_samples.radii[of_y]).any(1)
                precise[of_y] = (distances <= of_real.radii[start : start + rows, None]).any(0)
            if with_kid:
                kernels = kernel(product, x.shape[1])
                sums += kernels.sum(1)
                columns[of_y] += kernels.sum(0)
        return sums, columns, recalled, precise

    blocks = of_each_block(of_block, len(real), rows)
    of_rows, of_columns = np.concatenate([part[0] for part in blocks]), np.sum([part[1] for part in blocks], axis=0)
    require_finite(of_rows, "kernels of features")
    shares = None
    if of_real.radii is not None:
        shares = PrecisionRecall(
            precision=float(np.any([precise for *_, precise in blocks], axis=0).mean()),
            recall=float(np.concatenate([recalled for *_, recalled, _ in blocks]).mean()),
        )
    return Between(of_rows if with_kid else None, of_columns if with_kid else None, shares)


def _k_smallest(known: Numbers, distances: Numbers) -> Numbers:
    """The k smallest of each row of both, in any order: (n, k), (n, m) -> (n, k)."""
    k = known.shape[1]
    smallest: Numbers = np.partition(np.concatenate([known, distances], 1), k - 1, 1)[:, :k]
    return smallest
