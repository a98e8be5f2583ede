"""Encoded photos at rest: moments of the posterior, grain maps and labels, plain and mirrored.

Moments are those of codes, each once: a coarse region has one code, so a row is as long as its grain map asks for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from d2it.data.ragged import Ragged, RaggedWriter
from d2it.data.shards import Shards, ShardWriter
from d2it.errors import UserError
from d2it.finite import require_finite
from d2it.grain.codes import codes_once, spread_codes
from d2it.size import Size

COPIES = "copies.npy"  # int64 (k,): finest positions along a side of a code, by grain, coarsest first


class LatentBatch(NamedTuple):
    """Mean and std (B, z, h, w) float32 of the posterior, grain maps (B, h/S, w/S) uint8, labels (B,) int64."""

    mean: Tensor
    std: Tensor
    grain_map: Tensor
    labels: Tensor


class CompactBatch(NamedTuple):
    """A batch as it lies at rest: moments (n_codes, 2, z) float16 of each code once, grain maps and labels as above."""

    moments: Tensor
    grain_map: Tensor
    labels: Tensor


def code_moments(mean: Tensor, std: Tensor, grain_map: Tensor, copies: Sequence[int]) -> NDArray[np.float16]:
    """Mean and std (B, z, h, w) of the posterior as they are stored: those of each code once, (n_codes, 2, z).

    Images come one after the other, and an image's codes by their first (top left) position, row by row.

    Raises:
        NonFiniteError: they hold NaN, or numbers beyond float16's 65504.
    """
    codes = codes_once(torch.cat([mean, std], 1), grain_map, copies)  # (n_codes, 2z)
    moments: NDArray[np.float16] = rearrange(codes, "n (m z) -> n m z", m=2).half().cpu().numpy()
    return require_finite(moments, "the posterior's moments, as float16")


class LatentWriter:
    """Writes rows in order: `moments` float16 (2, z) = mean, std of each code; `grain_maps` uint8; `labels` int64."""

    def __init__(
        self, folder: Path, *, rows: int, latent_channels: int, region_grid: Size, copies: Sequence[int]
    ) -> None:
        """`copies`: finest positions along a side of a code, by grain, coarsest first."""
        self._codes = np.array([(copies[0] // n) ** 2 for n in copies])  # of a region, by grain
        longest = region_grid.area * int(self._codes.max())
        self._moments = RaggedWriter(folder, "moments", (2, latent_channels), np.float16, rows=rows, longest=longest)
        self._grain_maps = ShardWriter(folder, "grain_maps", region_grid, np.uint8, rows=rows)
        self._labels = ShardWriter(folder, "labels", (), np.int64, rows=rows)
        np.save(folder / COPIES, np.array(copies, np.int64))

    def append(self, moments: NDArray[np.float16], grain_maps: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """A batch of rows; `moments` as `code_moments` makes them."""
        self._moments.append(moments, self._codes[grain_maps].sum((1, 2)))
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
        self._moments = Ragged(folder, "moments")
        self._grain_maps, self._labels = Shards(folder, "grain_maps"), Shards(folder, "labels")
        self.copies: list[int] = np.load(folder / COPIES, allow_pickle=False).tolist()
        self.rows = self._moments.rows
        self.latent_channels = self._moments.item_shape[1]
        self.region_grid = Size.of(self._grain_maps.row_shape)
        self.latent_grid = self.region_grid.times(self.copies[0])

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of all rows, (rows,)."""
        return self._labels.take(np.arange(self.rows))

    def read(self, rows: NDArray[np.int64], *, pinned: bool = False) -> CompactBatch:
        """The rows (B,), in memory; `pinned`: from where a GPU fetches them while it works."""
        spans = self._moments.spans(rows)
        codes = int((spans[:, 1] - spans[:, 0]).sum())
        moments = torch.empty((codes, *self._moments.item_shape), dtype=torch.float16, pin_memory=pinned)
        self._moments.copy(spans, moments.numpy())
        batch = CompactBatch(moments, *self.take_maps(rows, torch.device("cpu")))
        return CompactBatch(*(x.pin_memory() for x in batch)) if pinned else batch

    def spread(self, batch: CompactBatch, device: torch.device) -> LatentBatch:
        """What was read, on the device, each code copied there to its positions."""
        moments, maps, labels = (x.to(device, non_blocking=True) for x in batch)
        grid = spread_codes(rearrange(moments, "n m z -> n (m z)"), maps, self.copies)  # (B, 2z, h, w)
        mean, std = grid.float().chunk(2, dim=1)
        return LatentBatch(mean, std, maps, labels)

    def take(self, rows: NDArray[np.int64], device: torch.device) -> LatentBatch:
        """The rows (B,)."""
        return self.spread(self.read(rows), device)

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
