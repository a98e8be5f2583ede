"""Rows of different lengths at rest: their items one after the other in a few .npy files, and where each row starts.

A row is one slice, so reading one at random costs a copy of its bytes.
"""

import mmap
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2it.data.shards import Shards, ShardWriter

OPEN_FILES = 64  # at most: NumPy keeps a file descriptor for each file that it maps


class RaggedWriter:
    """Writes rows in order to `folder/name-*.npy`, all items, and `folder/name_starts-*.npy`, int64, rows + 1 numbers.

    Use as a context manager.
    """

    def __init__(
        self, folder: Path, name: str, item_shape: Sequence[int], dtype: np.dtype | type, *, rows: int, longest: int
    ) -> None:
        """`rows`: how many will come in all; `longest`: items that a row has at most."""
        self._items = ShardWriter(folder, name, item_shape, dtype, rows=rows * longest)
        self._starts = ShardWriter(folder, f"{name}_starts", (), np.int64, rows=rows + 1)
        self._starts.append(np.zeros(1, np.int64))

    def append(self, items: NDArray[Any], lengths: NDArray[np.int64]) -> None:
        """Append rows of `lengths` (n,): items (sum of lengths, *item_shape).

        Raises:
            ValueError: there are more or fewer items, or more rows than announced.
        """
        if len(items) != lengths.sum():
            raise ValueError(f"{self._items.folder / self._items.name}: {len(items)} items, lengths {lengths.sum()}")
        self._starts.append(self._items.written + np.cumsum(lengths))
        self._items.append(items)

    def __enter__(self) -> "RaggedWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: Any) -> None:
        if kind is None:
            self._items.shorten()
        self._items.__exit__(kind, *raised)
        self._starts.__exit__(kind, *raised)


class Ragged:
    """What a `RaggedWriter` wrote, read by row."""

    def __init__(self, folder: Path, name: str) -> None:
        """Map the files.

        Raises:
            FileNotFoundError: one is missing.
        """
        self._starts = Shards(folder, f"{name}_starts")
        self.rows = len(self._starts) - 1
        self._file = lru_cache(OPEN_FILES)(lambda number: _File(folder / f"{name}-{number:05d}.npy"))
        first = self._file(0).items
        self._per_file, self.item_shape, self.dtype = len(first), first.shape[1:], first.dtype
        items = int(self._starts.take(np.array([self.rows]))[0])
        self._file((items - 1) // self._per_file)

    def spans(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """First item and the one after the last of each row (B,): (B, 2)."""
        return np.stack([self._starts.take(rows), self._starts.take(rows + 1)], axis=1)

    def copy(self, spans: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Items of the spans (B, 2), one span after the other, into `out` (sum of lengths, *item_shape)."""
        lengths = spans[:, 1] - spans[:, 0]
        order = np.argsort(spans[:, 0])  # through the files in one direction
        places, ordered = (np.cumsum(lengths) - lengths)[order].tolist(), spans[order].tolist()
        for start, end in ordered:
            for file, first, last in self._parts(start, end):
                file.ask_for(first, last)
        for place, (start, end) in zip(places, ordered, strict=True):
            done = place
            for file, first, last in self._parts(start, end):
                out[done : done + last - first] = file.items[first:last]
                done += last - first

    def _parts(self, start: int, end: int) -> Iterator[tuple["_File", int, int]]:
        """The files that a span lies in, and its items in each."""
        while start < end:
            number, first = divmod(start, self._per_file)
            last = min(first + end - start, self._per_file)
            yield self._file(number), first, last
            start += last - first


class _File:
    """A mapped file of which spans are read at random.

    The kernel is asked for all spans of a batch before the first is copied, and reads nothing around them; by itself
    it would wait for one after the other, and read 128 KiB for each.
    """

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        self.items: NDArray[Any] = array.view(np.ndarray)  # a memmap takes longer to slice
        self._map, self._offset, self._item_bytes = array.base, array.offset, array.nbytes // len(array)
        self._map.madvise(mmap.MADV_RANDOM)

    def ask_for(self, first: int, last: int) -> None:
        """Items from `first` to before `last` will be read soon."""
        start = (self._offset + first * self._item_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_WILLNEED, start, self._offset + last * self._item_bytes - start)
