"""Features compared all with all, in blocks: memory for a few of them, and threads that change no digit."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from d2it.evaluation.frechet import one_thread

ROWS = 1024  # of a block; 8 MB for the numbers of two blocks, 16 MB for each block of 2048 features

Result = TypeVar("Result")


def of_each_block(work: Callable[[int], Result], count: int, rows: int) -> list[Result]:
    """`work(start)` for each block of `rows` rows of `count`, in order.

    Blocks are divided among as many threads as PyTorch uses; linear algebra inside each is on one, and what a block
    gives does not depend on the others.
    """
    with one_thread(), ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return list(threads.map(work, range(0, count, rows)))


def block(features: NDArray[np.floating], start: int, rows: int) -> NDArray[np.float64]:
    """Up to `rows` rows from `start` on, (B, D); `features` may be a file that is read here (np.memmap)."""
    return np.asarray(features[start : start + rows], np.float64)
