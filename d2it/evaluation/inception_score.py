"""Inception score (Salimans et al. 2016), streamed, in parts that can be merged."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SPLITS = 10  # as in the original; with 50 000 samples they are the ADM evaluator's, of 5000 each


class Score(NamedTuple):
    """In [1, classes]."""

    mean: float  # over splits
    deviation: float  # standard deviation over splits, of the splits themselves (divided by their number)


class InceptionScore:
    """exp of the mean KL divergence between an image's classes and those of its split.

    Split i of n holds the images i N / n to (i + 1) N / n, rounded down, of N, as in torch-fidelity.
    """

    def __init__(self, images: int, classes: int, splits: int = SPLITS) -> None:
        """`images`: N, how many there will be in all.

        Raises:
            ValueError: fewer than one per split.
        """
        if images < splits:
            raise ValueError(f"{images} images: an Inception score over {splits} splits needs at least {splits}")
        self._edges = np.arange(splits + 1) * images // splits
        self._counts = np.zeros(splits, np.int64)
        self._sums = np.zeros((splits, classes))
        self._p_log_p = np.zeros(splits)

    @classmethod
    def from_arrays(
        cls, images: NDArray[np.int64], counts: NDArray[np.int64], sums: NDArray[np.float64],
        p_log_p: NDArray[np.float64],
    ) -> "InceptionScore":  # fmt: skip
        """What has these `arrays`."""
        score = cls(int(images), sums.shape[1], len(sums))
        score._counts, score._sums, score._p_log_p = counts, sums, p_log_p
        return score

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """N (), and so far: counts (splits,), sums (splits, classes) and sums of p log p (splits,)."""
        return np.array(self._edges[-1]), self._counts, self._sums, self._p_log_p

    def merge(self, other: "InceptionScore") -> None:
        """Take in all that `other` has seen: another part of the same N images."""
        self._counts += other._counts
        self._sums += other._sums
        self._p_log_p += other._p_log_p

    def add(self, first: int, probabilities: NDArray[np.floating]) -> None:
        """Take in consecutive images (B, classes), from number `first` on; rows that sum to 1.

        Raises:
            ValueError: more images than were announced.
        """
        if first + len(probabilities) > self._edges[-1]:
            raise ValueError(f"image {first + len(probabilities) - 1}: must be below the {self._edges[-1]} announced")
        starts = np.clip(self._edges - first, 0, len(probabilities))
        for split in np.flatnonzero(np.diff(starts)):
            here = probabilities[starts[split] : starts[split + 1]].astype(np.float64)
            self._counts[split] += len(here)
            self._sums[split] += here.sum(0)
            self._p_log_p[split] += _sum_p_log_p(here)

    def score(self) -> Score:
        """Of all images.

        Raises:
            ValueError: some are missing, or came twice.
        """
        announced = np.diff(self._edges)
        if (self._counts != announced).any():
            raise ValueError(f"{self._counts.sum()} images: must be each of the {announced.sum()} announced, once")
        marginals = self._sums / self._counts[:, None]
        divergences = self._p_log_p / self._counts - [_sum_p_log_p(marginal) for marginal in marginals]
        scores = np.exp(divergences)
        return Score(float(scores.mean()), float(scores.std()))


def _sum_p_log_p(p: NDArray[np.float64]) -> float:
    return float((p * np.log(p, where=p > 0, out=np.zeros_like(p))).sum())
