"""Inception score (Salimans et al. 2016), streamed."""

import numpy as np
from numpy.typing import NDArray

SPLIT = 5000  # images, as in the ADM evaluator; 50 000 samples then give the original's 10 splits


class InceptionScore:
    """exp of the mean KL divergence between an image's classes and those of its split; the mean over splits.

    Splits are consecutive images; the last may be smaller and counts as much, as in the ADM evaluator.
    """

    def __init__(self, split: int = SPLIT) -> None:
        self.split = split
        self._count = 0  # images in the split that is not full yet
        self._sum: NDArray[np.float64] = np.zeros(0)
        self._negative_entropy = 0.0
        self._scores: list[float] = []

    def add(self, probabilities: NDArray[np.floating]) -> None:
        """Take in a batch (B, classes), rows that sum to 1."""
        while len(probabilities):
            if self._count == 0:
                self._sum, self._negative_entropy = np.zeros(probabilities.shape[1]), 0.0
            here = probabilities[: self.split - self._count].astype(np.float64)
            probabilities = probabilities[len(here) :]
            self._count += len(here)
            self._sum += here.sum(0)
            self._negative_entropy += _sum_p_log_p(here)
            if self._count == self.split:
                self._scores.append(self._split_score())
                self._count = 0

    def score(self) -> float:
        """Of all images so far, in [1, classes].

        Raises:
            ValueError: there were none.
        """
        scores = self._scores + ([self._split_score()] if self._count else [])
        if not scores:
            raise ValueError("no images")
        return float(np.mean(scores))

    def _split_score(self) -> float:
        marginal = self._sum / self._count
        return float(np.exp(self._negative_entropy / self._count - _sum_p_log_p(marginal)))


def _sum_p_log_p(p: NDArray[np.float64]) -> float:
    return float((p * np.log(p, where=p > 0, out=np.zeros_like(p))).sum())
