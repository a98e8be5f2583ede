"""Images to shards: decoded and measured by many threads, written in order, in bounded memory."""

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from d2it.data.imageset import DataError, ImageSet, Source
from d2it.data.shards import ShardWriter

CHUNK = 16  # images that a thread decodes and measures at a time; fixed, so that thread counts change no byte

Measure = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images (n, H, W, 3) -> region entropies (n, h, w)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Written:
    """What was written."""

    fingerprint: str  # sha256 of: training pixels, training labels, validation pixels, validation labels
    enlarged: int  # number of images that were smaller than the training size


class _Chunk(NamedTuple):
    pixels: NDArray[np.uint8]  # (n, H, W, 3)
    entropy: NDArray[np.float32]  # (n, h, w)
    enlarged: int


def usable_cores() -> int:
    """Cores that this process may run on (a job's share of its node)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_source(
    source: Source, folder: Path, region_size: int, measure: Measure, *,
    advance: Callable[[int], None] = lambda _: None, threads: int | None = None,
) -> Written:  # fmt: skip
    """Write `folder/train` and `folder/validation`, each with the shards `images`, `labels` and `entropy`.

    Rows: uint8 (H, W, 3), int64 (), float32 (H/S, W/S). `advance(n)` is called when n more images are written.
    On failure both folders are removed. An empty set has a folder without shards.

    Raises:
        DataError: a damaged image (the first in order), or too little space on the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(folder, (len(source.train) + len(source.validation)) * source.train.size**2 * 3)
    digest, enlarged = hashlib.sha256(), 0
    threads = threads or usable_cores()
    try:
        with ThreadPoolExecutor(threads) as pool:
            for name, images in (("train", source.train), ("validation", source.validation)):
                starts = range(0, len(images), CHUNK)
                chunks = _in_order(pool, partial(_read_chunk, images, measure), starts, threads + 1)
                for chunk in _written(chunks, folder / name, images, region_size):
                    digest.update(chunk.pixels.data)
                    enlarged += chunk.enlarged
                    advance(len(chunk.pixels))
                digest.update(images.labels.astype("<i8").tobytes())
    except BaseException:
        for name in ("train", "validation"):
            shutil.rmtree(folder / name, ignore_errors=True)
        raise
    return Written(digest.hexdigest(), enlarged)


def _written(chunks: Iterable[_Chunk], folder: Path, images: ImageSet, region_size: int) -> Iterator[_Chunk]:
    """The same chunks, each after it has been written."""
    size, regions = images.size, images.size // region_size
    with (
        ShardWriter(folder, "images", (size, size, 3), np.uint8, rows=len(images)) as pixels,
        ShardWriter(folder, "labels", (), np.int64, rows=len(images)) as labels,
        ShardWriter(folder, "entropy", (regions, regions), np.float32, rows=len(images)) as entropy,
    ):
        labels.append(images.labels)
        for chunk in chunks:
            pixels.append(chunk.pixels)
            entropy.append(chunk.entropy)
            yield chunk


def _read_chunk(images: ImageSet, measure: Measure, start: int) -> _Chunk:
    squares = [images.read(index) for index in range(start, min(start + CHUNK, len(images)))]
    pixels = np.stack([square.pixels for square in squares])
    return _Chunk(pixels, measure(pixels), sum(square.enlarged for square in squares))


def _in_order(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """work(item) of each item, in order, with at most `ahead` results kept waiting."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _check_space(folder: Path, size: int) -> None:
    """A memory-mapped write to a full disk kills the process without a word; so say it before."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(f"{folder}: the images take {size / 1e9:.1f} GB, free are {free / 1e9:.1f} GB")
