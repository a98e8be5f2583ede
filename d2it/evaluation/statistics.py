"""All that is measured of a set of images, in one pass and in memory that does not grow with it."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from d2it.evaluation.features import POOL, SPATIAL, InceptionFeatures
from d2it.evaluation.frechet import GaussianStatistics
from d2it.evaluation.inception_score import InceptionScore


class ImageStatistics:
    """Statistics of a set's features, and the features themselves of its first images."""

    def __init__(self, keep: int) -> None:
        """`keep`: images whose pool features are kept, at most."""
        self.keep = keep
        self.pool, self.spatial = GaussianStatistics(POOL), GaussianStatistics(SPATIAL)
        self.inception_score = InceptionScore()
        self._kept: list[NDArray[np.float32]] = [np.empty((0, POOL), np.float32)]

    @property
    def features(self) -> NDArray[np.float32]:
        """Pool features of the first images, (at most `keep`, 2048)."""
        return np.concatenate(self._kept)

    def measure(
        self,
        extractor: InceptionFeatures,
        batches: Iterable[NDArray[np.uint8]],
        advance: Callable[[int], None] = lambda _: None,
    ) -> "ImageStatistics":
        """Take in batches (B, H, W, 3); `advance(n)` is called when n more images are done. Returns itself."""
        for images in batches:
            features = extractor(torch.from_numpy(images).permute(0, 3, 1, 2))
            pool = features.pool.cpu().numpy()
            room = max(0, self.keep - self.pool.count)
            self._kept.append(pool[:room])
            self.pool.add(pool)
            self.spatial.add(features.spatial.cpu().numpy())
            self.inception_score.add(features.probabilities.cpu().numpy())
            advance(len(images))
        return self
