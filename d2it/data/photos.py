"""A prepared set of photos: pixels, region entropies and labels, plain and mirrored."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from d2it.data.shards import Shards
from d2it.finite import require_finite
from d2it.size import Size


class PhotoBatch(NamedTuple):
    """Images (B, 3, H, W) float32 in [-1, 1], region entropies (B, h, w) float32 in nats, labels (B,) int64."""

    images: Tensor
    entropy: NDArray[np.float32]
    labels: Tensor


class Photos:
    """One half (train or validation) of what the stage `prepare` wrote.

    With `flip`, row r + N is photo r mirrored left to right, and there are 2 N rows. Regions are mirrored onto regions
    with the same pixels, so the mirrored photo's entropies are the mirrored entropies; its codes are not.
    """

    def __init__(self, folder: Path, flip: bool) -> None:
        self._images, self._entropy, self._labels = (Shards(folder, name) for name in ("images", "entropy", "labels"))
        self.photos = len(self._images)
        self.region_grid = Size.of(self._entropy.row_shape)
        self.rows = 2 * self.photos if flip else self.photos

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """Pixels (B, H, W, 3), entropies (B, h, w) and labels (B,) of the photos of `rows`, (B,)."""
        mirrored = rows >= self.photos
        index = rows % self.photos
        pixels, entropy = self._images.take(index), self._entropy.take(index)
        pixels[mirrored] = pixels[mirrored, :, ::-1]
        entropy[mirrored] = entropy[mirrored, :, ::-1]
        return pixels, entropy, self._labels.take(index)

    def take(self, rows: NDArray[np.int64], device: torch.device) -> PhotoBatch:
        """The photos of `rows`, (B,)."""
        pixels, entropy, labels = self.read(rows)
        return PhotoBatch(to_float(torch.from_numpy(pixels).to(device)), entropy, torch.from_numpy(labels).to(device))


def to_float(pixels: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1]."""
    return rearrange(pixels, "b h w c -> b c h w").float() / 127.5 - 1


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """float (B, 3, H, W) in [-1, 1] -> uint8 (B, H, W, 3), rounded to nearest.

    Raises:
        NonFiniteError: an image holds NaN or infinity, which would come out black or white.
    """
    pixels = ((require_finite(images, "images").float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    array: NDArray[np.uint8] = rearrange(pixels, "b c h w -> b h w c").cpu().numpy()
    return array
