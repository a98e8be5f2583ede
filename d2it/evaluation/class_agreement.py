"""Class agreement: the share of images whose class a classifier on an extractor's features recognises.

The classifier is linear discriminant analysis (Fisher 1936; Hastie et al. 2009, 4.3): it is fitted in one pass over the
training images, without iterations, and knows nothing of the model whose samples it judges. As a measure it is ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]

from d2it.evaluation.frechet import one_thread
from d2it.finite import require_finite

SHRINKAGE = 0.1  # share of the covariance that is replaced by its mean variance in all directions
ROWS = 4096  # classified at once


@dataclass(frozen=True)
class Classifier:
    """Linear discriminants of features (D,)."""

    weights: NDArray[np.float64]  # (classes, D)
    bias: NDArray[np.float64]  # (classes,); -inf: a class without training images, which is never predicted

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.int64]:
        """The most probable class of each of `features` (N, D): (N,); the first of equals."""
        with one_thread():
            blocks = [
                (features[start : start + ROWS].astype(np.float64) @ self.weights.T + self.bias).argmax(1)
                for start in range(0, len(features), ROWS)
            ]
        return np.concatenate([np.zeros(0, np.int64), *blocks])


class ClassStatistics:
    """What the classifier needs of features that come in batches; parts can be merged."""

    def __init__(self, width: int, classes: int) -> None:
        """`width`: D, features per image."""
        self._counts = np.zeros(classes, np.int64)
        self._sums = np.zeros((classes, width))
        self._products = np.zeros((width, width))

    @classmethod
    def from_arrays(
        cls, counts: NDArray[np.int64], sums: NDArray[np.float64], products: NDArray[np.float64]
    ) -> "ClassStatistics":
        """What has these `arrays`."""
        statistics = cls(0, 0)
        statistics._counts, statistics._sums, statistics._products = counts, sums, products
        return statistics

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Images per class (classes,), sums per class (classes, D), and the sum of products x xᵀ (D, D)."""
        return self._counts, self._sums, self._products

    def add(self, features: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        """Take in a batch (B, D) with labels (B,) in [0, classes); those below 0 are none, and are left out."""
        x, labels = features[labels >= 0].astype(np.float64), labels[labels >= 0]
        self._counts += np.bincount(labels, minlength=len(self._counts))
        np.add.at(self._sums, labels, x)
        with one_thread():
            self._products += x.T @ x

    def merge(self, other: "ClassStatistics") -> None:
        """Take in all that `other` has seen."""
        self._counts += other._counts
        self._sums += other._sums
        self._products += other._products

    def fit(self, shrinkage: float = SHRINKAGE) -> Classifier:
        """The classifier; all classes are equally probable before an image is seen.

        One covariance S serves all classes, the mean over images around the mean of their class; it becomes
        (1 - shrinkage) S + shrinkage tr(S) / D, which fewer images than features need.

        Raises:
            ValueError: fewer than two classes have images, or all images of each class have the same features.
            NonFiniteError: features hold NaN or infinity.
        """
        known = self._counts > 0
        if known.sum() < 2:
            raise ValueError(f"{known.sum()} classes with images: a classifier needs at least 2")
        means = self._sums[known] / self._counts[known, None]
        with one_thread():
            between = (means * self._counts[known, None]).T @ means
            covariance = require_finite((self._products - between) / self._counts.sum(), "covariance of features")
            variance = covariance.trace() / len(covariance)
            if variance <= 0:
                raise ValueError("all images of a class have the same features: a classifier needs some that differ")
            shrunk = (1 - shrinkage) * covariance + shrinkage * variance * np.eye(len(covariance))
            directions = cho_solve(cho_factor(shrunk), means.T).T
        weights, bias = np.zeros(self._sums.shape), np.full(len(known), -np.inf)
        weights[known], bias[known] = directions, -(means * directions).sum(1) / 2
        return Classifier(weights, bias)


def agreement(classifier: Classifier, features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Share in [0, 1] of `features` (N, D) whose predicted class is that of `labels` (N,); those below 0 are none.

    Raises:
        ValueError: no image has a label.
    """
    labelled = labels >= 0
    if not labelled.any():
        raise ValueError(f"{len(labels)} images without a label: class agreement needs at least one with a label")
    return float((classifier.predict(features) == labels)[labelled].mean())
