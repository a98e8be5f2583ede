"""Arrays at rest: rows in a few large .npy files, memory-mapped, read by row index and never unpickled.

Ours: a row costs no decoding and no index, and anything that knows NumPy reads the files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from d2it.data.arrays import read_header
from d2it.files import replacing

SHARD_BYTES = 1 << 30


class Shuffled:
    """All rows of shards in a fixed random order, so that the first few are a fair sample of all.

    Folders are prepared class by class: the first thousand photos of ImageNet are of one class.
    """

    def __init__(self, shards: "Shards") -> None:
        self._shards = shards
        self.order: NDArray[np.int64] = np.random.default_rng(0).permutation(len(shards))

    def __len__(self) -> int:
        return len(self._shards)

    def take(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """As `Shards.take`, of the shuffled rows."""
        return self._shards.take(self.order[indices])


class ShardWriter:
    """Writes rows of one shape and dtype to `folder/name-00000.npy`, `-00001.npy`, ... of about 1 GiB each.

    Use as a context manager; rows are appended in order, and the same rows give the same files.
    """

    def __init__(self, folder: Path, name: str, row_shape: Sequence[int], dtype: np.dtype | type, *, rows: int) -> None:
        """`rows`: how many rows will come in all; a shard is allocated at its final size. See `shorten`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.row_shape, self.dtype = folder, name, tuple(row_shape), np.dtype(dtype)
        self.rows, self.written = rows, 0
        row_bytes = max(1, int(np.prod(self.row_shape)) * self.dtype.itemsize)
        self.shard_rows = max(1, SHARD_BYTES // row_bytes)
        self._shard: np.memmap | None = None

    def append(self, batch: NDArray[Any]) -> None:
        """Append rows (n, *row_shape).

        Raises:
            ValueError: more rows than announced.
        """
        if self.written + len(batch) > self.rows:
            raise ValueError(f"{self.folder / self.name}: {self.written + len(batch)} rows, announced {self.rows}")
        while len(batch):
            shard, row = divmod(self.written, self.shard_rows)
            if row == 0:
                self._open(shard)
            n = min(len(batch), self.shard_rows - row)
            assert self._shard is not None
            self._shard[row : row + n] = batch[:n]
            self.written, batch = self.written + n, batch[n:]

    def shorten(self) -> None:
        """No more rows will come: cut the last shard to those that are there."""
        self._flush()
        shard, rows = divmod(self.written, self.shard_rows)
        if rows and self.written < self.rows:
            path = self._path(shard)
            whole = np.load(path, mmap_mode="r", allow_pickle=False)
            with replacing(path) as part:
                short = np.lib.format.open_memmap(part, mode="w+", dtype=self.dtype, shape=(rows, *self.row_shape))
                short[:] = whole[:rows]
                short.flush()
        self.rows = self.written

    def _path(self, shard: int) -> Path:
        return self.folder / f"{self.name}-{shard:05d}.npy"

    def _open(self, shard: int) -> None:
        self._flush()
        n = min(self.shard_rows, self.rows - shard * self.shard_rows)
        shape = (n, *self.row_shape)
        self._shard = np.lib.format.open_memmap(self._path(shard), mode="w+", dtype=self.dtype, shape=shape)

    def _flush(self) -> None:
        if self._shard is not None:
            self._shard.flush()
            self._shard = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._flush()
        if kind is None and self.written != self.rows:
            raise ValueError(f"{self.folder / self.name}: {self.written} rows, announced {self.rows}")


class Shards:
    """All rows of `folder/name-*.npy`, read by index."""

    def __init__(self, folder: Path, name: str) -> None:
        """Map the files.

        Raises:
            FileNotFoundError: there are none.
        """
        paths = sorted(folder.glob(f"{name}-[0-9][0-9][0-9][0-9][0-9].npy"))
        if not paths:
            raise FileNotFoundError(f"{folder / name}-*.npy: no such files")
        self.arrays = [_map(path) for path in paths]  # of each file, in order
        self._starts = np.cumsum([0] + [len(array) for array in self.arrays])
        self.row_shape: tuple[int, ...] = self.arrays[0].shape[1:]
        self.dtype: np.dtype = self.arrays[0].dtype

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, indices: NDArray[np.integer]) -> NDArray[Any]:
        """Rows at `indices` (n,), in that order: a new array (n, *row_shape).

        Raises:
            IndexError: an index below 0 or beyond the last row.
        """
        indices = np.asarray(indices)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"rows {indices.min()}..{indices.max()} of {len(self)}")
        rows = np.empty((len(indices), *self.row_shape), self.dtype)
        shard_of = np.searchsorted(self._starts, indices, side="right") - 1
        for shard in np.unique(shard_of):
            here = shard_of == shard
            rows[here] = self.arrays[shard][indices[here] - self._starts[shard]]
        return rows


def _map(path: Path) -> NDArray[Any]:
    """A .npy file's array, mapped into memory and read-only.

    By PyTorch, since NumPy's maps hold a file descriptor each, of which a process may have a thousand.
    """
    with path.open("rb") as file:
        shape, _, dtype = read_header(file)
        start = file.tell()
    mapped = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8).numpy()
    array: NDArray[Any] = mapped[start:].view(dtype).reshape(shape)
    array.flags.writeable = False
    return array
