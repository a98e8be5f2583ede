"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017), from streamed statistics.

Ours: torch-fidelity keeps all features in memory, and the matrix root that it takes can come out complex.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits

from d2it.finite import require_finite


def one_thread() -> threadpool_limits:
    """Linear algebra on one thread: the last digits must not depend on the number of cores."""
    return threadpool_limits(limits=1, user_api="blas")


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and unbiased covariance (D, D), float64."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


class GaussianStatistics:
    """Mean and covariance of features that come in batches: the same for any cut, up to float64 rounding."""

    def __init__(self, width: int) -> None:
        """`width`: D, features per image."""
        self.count = 0
        self._sum = np.zeros(width)
        self._products = np.zeros((width, width))

    @classmethod
    def from_arrays(
        cls, count: NDArray[np.int64], total: NDArray[np.float64], products: NDArray[np.float64]
    ) -> "GaussianStatistics":
        """What has these `arrays`."""
        statistics = cls(0)
        statistics.count, statistics._sum, statistics._products = int(count), total, products
        return statistics

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Number of images (), their sum (D,), and the sum of products x xᵀ (D, D)."""
        return np.array(self.count), self._sum, self._products

    def add(self, features: NDArray[np.floating]) -> None:
        """Take in a batch (B, D)."""
        x = features.astype(np.float64)
        self.count += len(x)
        self._sum += x.sum(0)
        with one_thread():
            self._products += x.T @ x

    def merge(self, other: "GaussianStatistics") -> None:
        """Take in all that `other` has seen."""
        self.count += other.count
        self._sum += other._sum
        self._products += other._products

    def gaussian(self) -> Gaussian:
        """The fitted Gaussian.

        Raises:
            ValueError: fewer than two images.
        """
        if self.count < 2:
            raise ValueError(f"{self.count} images: a covariance needs at least 2")
        mean = self._sum / self.count
        return Gaussian(mean, (self._products - self.count * np.outer(mean, mean)) / (self.count - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), at least 0; also for covariances without full rank.

    With C_a = L Lᵀ and C_b = M Mᵀ, the eigenvalues of C_a C_b that are not 0 are the squared singular values of Lᵀ M:
    they are real, their roots come without rounding that a root would magnify, and there are no more of them than
    either rank, which fewer images than features make small.

    Raises:
        NonFiniteError: a mean or covariance holds NaN or infinity.
    """
    for gaussian in (a, b):
        require_finite(gaussian.mean, "mean of features")
        require_finite(gaussian.covariance, "covariance of features")
    with one_thread():
        factors = _cholesky_factor(a.covariance).T @ _cholesky_factor(b.covariance)
        overlap = np.linalg.svd(factors, compute_uv=False).sum()
    difference = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return max(0.0, float(difference @ difference + traces - 2 * overlap))


def _cholesky_factor(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """L (D, rank) with L Lᵀ = covariance (D, D), by pivoting: positive semi-definite is enough."""
    packed, pivots, rank, _ = dpstrf(covariance, lower=1, tol=np.finfo(np.float64).eps * covariance.diagonal().max())
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return factor
