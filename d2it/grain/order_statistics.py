"""The smallest, the hundredth, the millionth of more numbers than fit into memory: exact, in two passes.

A float32 becomes an integer of 32 bits that is ordered as it is. The first pass counts how many numbers share their
first 20 bits, which says for each rank in which bin of 2^12 neighbours its number lies; the second counts these bins'
numbers one by one.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

LOW_BITS = 12
AT_A_TIME = 1 << 20  # numbers


def order_statistics(blocks: Sequence[NDArray[np.float32]], ranks: NDArray[np.int64]) -> NDArray[np.float32]:
    """The numbers that would have the places `ranks`, from 0, if all of `blocks` were sorted: of the shape of `ranks`.

    Memory: some 60 MB, and 16 kB for each rank that is far from all others.
    """
    bins = 1 << (32 - LOW_BITS)
    counts = np.zeros(bins, np.int64)
    for keys in _keys(blocks):
        counts += np.bincount(keys >> LOW_BITS, minlength=bins)
    ends = np.cumsum(counts)
    bin_of = np.searchsorted(ends, ranks, side="right")  # in which each rank's number lies
    wanted, row_of = np.unique(bin_of, return_inverse=True)
    row = np.full(bins, len(wanted))  # one more, for the numbers of all other bins
    row[wanted] = np.arange(len(wanted))
    fine = np.zeros((len(wanted) + 1, 1 << LOW_BITS), np.uint32)
    for keys in _keys(blocks):
        np.add.at(fine, (row[keys >> LOW_BITS], keys & ((1 << LOW_BITS) - 1)), 1)
    within = ranks - (ends - counts)[bin_of]
    low = [np.searchsorted(np.cumsum(fine[r]), n, side="right") for r, n in zip(row_of, within, strict=True)]
    return _floats((bin_of << LOW_BITS) | np.array(low))


def _keys(blocks: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.int64]]:
    """Numbers as int64 of 32 bits, in the same order."""
    for block in blocks:
        flat = block.reshape(-1)
        for start in range(0, len(flat), AT_A_TIME):
            bits = flat[start : start + AT_A_TIME].view(np.uint32).astype(np.int64)
            yield np.where(bits < 1 << 31, bits + (1 << 31), (1 << 32) - 1 - bits)


def _floats(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """The inverse of `_keys`."""
    bits = np.where(keys >= 1 << 31, keys - (1 << 31), (1 << 32) - 1 - keys)
    return bits.astype(np.uint32).view(np.float32)
