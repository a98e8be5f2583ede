"""Encoded photos at rest: moments of the posterior, grain maps and labels, plain and mirrored."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it.data.shards import Shards, ShardWriter
from d2it.errors import UserError
from d2it.finite import require_finite


class LatentBatch(NamedTuple):
    """Mean and std (B, z, h, w) float32 of the posterior, grain maps (B, h/S, w/S) uint8, labels (B,) int64."""

    mean: Tensor
    std: Tensor
    grain_map: Tensor
    labels: Tensor


def stack_moments(mean: Tensor, std: Tensor) -> NDArray[np.float16]:
    """Mean and std (B, z, h, w) of the posterior as they are stored, (B, 2, z, h, w).

    Raises:
        NonFiniteError: they hold NaN, or numbers beyond float16's 65504.
    """
    moments: NDArray[np.float16] = torch.stack([mean, std], 1).half().cpu().numpy()
    return require_finite(moments, "the posterior's moments, as float16")


class LatentWriter:
    """Writes rows in order: `moments` float16 (2, z, h, w) = mean, std; `grain_maps` uint8; `labels` int64."""

    def __init__(self, folder: Path, *, rows: int, latent_channels: int, latent_grid: int, region_grid: int) -> None:
        moments = (2, latent_channels, latent_grid, latent_grid)
        self._moments = ShardWriter(folder, "moments", moments, np.float16, rows=rows)
        self._grain_maps = ShardWriter(folder, "grain_maps", (region_grid, region_grid), np.uint8, rows=rows)
        self._labels = ShardWriter(folder, "labels", (), np.int64, rows=rows)

    def append(self, moments: NDArray[np.float16], grain_maps: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """A batch of rows; `moments` as `stack_moments` makes them."""
        self._moments.append(moments)
        self._grain_maps.append(grain_maps)
        self._labels.append(labels)

    def __enter__(self) -> "LatentWriter":
        return self

    def __exit__(self, *raised: Any) -> None:
        for writer in (self._moments, self._grain_maps, self._labels):
            writer.__exit__(*raised)


class Latents:
    """What the stage `encode_latents` wrote; row r + N is photo r mirrored, where it was asked for."""

    def __init__(self, folder: Path) -> None:
        self._moments, self._grain_maps, self._labels = (
            Shards(folder, name) for name in ("moments", "grain_maps", "labels")
        )
        self.rows = len(self._moments)
        self.latent_channels, self.latent_grid = self._moments.row_shape[1:3]
        self.region_grid = self._grain_maps.row_shape[0]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of all rows, (rows,)."""
        return self._labels.take(np.arange(self.rows))

    def take(self, rows: NDArray[np.int64], device: torch.device) -> LatentBatch:
        """The rows (B,)."""
        moments = torch.from_numpy(self._moments.take(rows)).to(device).float()
        return LatentBatch(moments[:, 0], moments[:, 1], *self.take_maps(rows, device))

    def take_maps(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Grain maps and labels of the rows (B,) alone."""
        maps, labels = torch.from_numpy(self._grain_maps.take(rows)), torch.from_numpy(self._labels.take(rows))
        return maps.to(device), labels.to(device)


class RowsByLabel:
    """Random rows of the labels that are asked for, each row of a label with equal probability."""

    def __init__(self, labels: NDArray[np.int64]) -> None:
        """`labels`: of all rows, (N,), N at least 1."""
        self._rows = np.argsort(labels, kind="stable")  # of class 0, then of class 1, ...
        self._starts = np.searchsorted(labels[self._rows], np.arange(labels.max() + 2))

    def pick(self, labels: NDArray[np.int64], place: NDArray[np.float64]) -> NDArray[np.int64]:
        """One row for each label (B,); `place` (B,), in [0, 1), picks it among those of the label.

        Raises:
            UserError: a label has no row.
        """
        require_training_images(np.diff(self._starts), labels)
        first, after = self._starts[labels], self._starts[labels + 1]
        return self._rows[first + (place * (after - first)).astype(np.int64)]


def require_training_images(counts: NDArray[np.number], labels: NDArray[np.int64]) -> None:
    """Whether all classes of `labels` have training images; `counts`: of class 0, 1, ..., the last may be left out.

    Raises:
        UserError: one has none.
    """
    empty = [int(label) for label in np.unique(labels) if label >= len(counts) or not counts[label]]
    if empty:
        raise UserError(f"class {empty[0]} has no training image, so no real grain map")
