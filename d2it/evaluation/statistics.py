"""All that is measured of a set of images, in one pass and in memory that does not grow with it."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from d2it.data.arrays import Arrays
from d2it.evaluation.features import POOL, SPATIAL, InceptionFeatures
from d2it.evaluation.frechet import GaussianStatistics
from d2it.evaluation.inception_score import InceptionScore


def measured_features(extractor: InceptionFeatures, images: NDArray[np.uint8]) -> Arrays:
    """Pool features, spatial features and probabilities of images (B, H, W, 3), float32, on the CPU."""
    return tuple(x.cpu().numpy() for x in extractor(rearrange(torch.from_numpy(images), "b h w c -> b c h w")))


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

    def measure(self, batches: Iterable[Arrays], advance: Callable[[int], None] = lambda _: None) -> "ImageStatistics":
        """Take in batches of `measured_features`; `advance(n)` is called when n more images are in. Returns itself."""
        for pool, spatial, probabilities in batches:
            room = max(0, self.keep - self.pool.count)
            self._kept.append(pool[:room])
            self.pool.add(pool)
            self.spatial.add(spatial)
            self.inception_score.add(probabilities)
            advance(len(pool))
        return self
