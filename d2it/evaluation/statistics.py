"""What one pass over a set of images leaves: sums, which merge in any cut, and features, which are kept on disk."""

import os
import tempfile
import weakref
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from d2it.data.arrays import Arrays
from d2it.evaluation.class_agreement import ClassStatistics
from d2it.evaluation.extractor import Features
from d2it.evaluation.frechet import GaussianStatistics
from d2it.evaluation.inception_score import InceptionScore


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a pass over N images is made for."""

    pool: bool = False  # mean and covariance of pool features
    spatial: bool = False  # the same of spatial features; Inception alone
    score: bool = False  # the Inception score; Inception alone
    classes: int = 0  # of the labels, for a classifier of pool features; 0 = none
    numbers: int = 0  # other numbers per image, of which the mean is taken
    keep: NDArray[np.int64] | None = None  # ascending numbers of the images whose pool features are kept

    @property
    def nothing(self) -> bool:
        """Whether there is no need for a pass."""
        return not (self.pool or self.spatial or self.score or self.classes or self.numbers) and self.keep is None


class ImageStatistics:
    """Sums over images; only what is wanted is there."""

    def __init__(self, wanted: Wanted, images: int, width: int) -> None:
        """`images`: N, how many there will be in all; `width`: of pool features."""
        self.images = images
        self.pool = GaussianStatistics(width) if wanted.pool else None
        self.classes = ClassStatistics(width, wanted.classes) if wanted.classes else None
        self.spatial: GaussianStatistics | None = None
        self.score: InceptionScore | None = None
        self._numbers = np.zeros(wanted.numbers)
        if wanted.spatial or wanted.score:
            from d2it.evaluation.inception import CLASSES, SPATIAL  # no other extractor pays for its libraries

            self.spatial = GaussianStatistics(SPATIAL) if wanted.spatial else None
            self.score = InceptionScore(images, CLASSES) if wanted.score else None

    @property
    def means(self) -> NDArray[np.float64]:
        """Of the other numbers, over all images."""
        means: NDArray[np.float64] = self._numbers / self.images
        return means

    def add(
        self, first: int, features: Features, labels: NDArray[np.int64] | None, numbers: NDArray[np.float64] | None
    ) -> None:
        """Take in consecutive images, from number `first` on; labels (B,), other numbers (B, wanted.numbers)."""
        if self.pool is not None:
            self.pool.add(features.pool)
        if self.classes is not None:
            assert labels is not None
            self.classes.add(features.pool, labels)
        if self.spatial is not None:
            assert features.spatial is not None
            self.spatial.add(features.spatial)
        if self.score is not None:
            assert features.probabilities is not None
            self.score.add(first, features.probabilities)
        if numbers is not None:
            self._numbers += numbers.sum(0)

    def arrays(self) -> Arrays:
        """All that is known so far, to be sent to another rank."""
        parts = [part for part in (self.pool, self.classes, self.spatial, self.score) if part is not None]
        return (self._numbers, *(array for part in parts for array in part.arrays()))

    def merge(self, arrays: Arrays) -> None:
        """Take in the `arrays` of the same statistics of other images."""
        rest = iter(arrays)
        self._numbers = self._numbers + next(rest)
        if self.pool is not None:
            self.pool.merge(GaussianStatistics.from_arrays(*islice(rest, 3)))
        if self.classes is not None:
            self.classes.merge(ClassStatistics.from_arrays(*islice(rest, 3)))
        if self.spatial is not None:
            self.spatial.merge(GaussianStatistics.from_arrays(*islice(rest, 3)))
        if self.score is not None:
            self.score.merge(InceptionScore.from_arrays(*islice(rest, 4)))


class FeatureFile:
    """Pool features on disk, (N, width) float32, in a file that goes with this object.

    Mapped into memory, they would count as this process's; so each block is read when it is asked for.
    """

    def __init__(self, folder: Path, width: int) -> None:
        """`folder`: where the file is, without a name; made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # it lives as long as this object
        weakref.finalize(self, self._file.close)
        self._width, self._count = width, 0

    def append(self, features: NDArray[np.float32]) -> None:
        """Write the next rows (B, width)."""
        self._file.write(np.ascontiguousarray(features, np.float32).data)
        self._file.flush()
        self._count += len(features)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Consecutive rows, a new array; safe to call from many threads."""
        start, stop, _ = rows.indices(len(self))
        features = np.empty((max(0, stop - start), self._width), np.float32)
        buffer, place = features.reshape(-1).view(np.uint8).data, 4 * self._width * start
        while len(buffer):
            block = os.pread(self._file.fileno(), min(len(buffer), 1 << 24), place)
            buffer[: len(block)] = block
            buffer, place = buffer[len(block) :], place + len(block)
        return features

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows (B,), in that order."""
        return np.concatenate([np.empty((0, self._width), np.float32), *(self[row : row + 1] for row in rows)])

    @property
    def rows(self) -> NDArray[np.float32]:
        """Stands for the array where only its length and blocks of rows are asked for."""
        return cast(NDArray[np.float32], self)
