"""Images to shards: decoded and measured by many threads, written in order, in bounded memory."""

import csv
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from d2it.data.imageset import DataError, ImageSet, Source, UnreadableError, printable
from d2it.data.shards import ShardWriter

CHUNK = 16  # images that a thread decodes and measures at a time; fixed, so that thread counts change no byte
SHOWN = 10  # damaged images in the message

Measure = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images (n, H, W, 3) -> region entropies (n, h, w)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Allowed:
    """What is done about images that cannot be read."""

    share: float = 0.0  # of all images, at most, that may be left out; with more of them nothing is written
    table: Path | None = None  # CSV that gets their names and reasons


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written."""

    fingerprint: str  # sha256 of: training pixels, training labels, validation pixels, validation labels
    train: int  # images
    validation: int
    enlarged: int  # number of images that were smaller than the training size
    damaged: int  # number of images that were left out


class _Chunk(NamedTuple):
    pixels: NDArray[np.uint8]  # (n, H, W, 3)
    labels: NDArray[np.int64]  # (n,)
    entropy: NDArray[np.float32]  # (n, h, w)
    enlarged: int
    damaged: list[UnreadableError]  # of others than those n


@dataclass
class _Half:
    labels: list[int] = field(default_factory=list)
    enlarged: int = 0
    damaged: list[UnreadableError] = field(default_factory=list)


def usable_cores() -> int:
    """Cores that this process may run on (a job's share of its node)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_source(
    source: Source, folder: Path, region_size: int, measure: Measure, *,
    allowed: Allowed = Allowed(), advance: Callable[[int], None] = lambda _: None, threads: int | None = None,
) -> Written:  # fmt: skip
    """Write `folder/train` and `folder/validation`, each with the shards `images`, `labels` and `entropy`.

    Rows: uint8 (H, W, 3), int64 (), float32 (H/S, W/S). `advance(n)` is called when n more images are done. All images
    are read, whatever comes, so that all damaged ones are known at once. On failure both folders are removed. An empty
    set has a folder without shards.

    Raises:
        DataError: more damaged images than are allowed, a class that loses all of its training images by them, or too
            little space on the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = len(source.train) + len(source.validation)
    _check_space(folder, total * source.train.size**2 * 3)
    digest, threads = hashlib.sha256(), threads or usable_cores()

    def write_half(name: str, images: ImageSet) -> _Half:
        half = _Half()
        chunks = _in_order(pool, partial(_read_chunk, images, measure), range(0, len(images), CHUNK), threads + 1)
        for chunk in _written(chunks, folder / name, images, region_size):
            digest.update(chunk.pixels.data)
            half.labels += chunk.labels.tolist()
            half.enlarged += chunk.enlarged
            half.damaged += chunk.damaged
            advance(len(chunk.pixels) + len(chunk.damaged))
        digest.update(np.array(half.labels, "<i8").tobytes())
        return half

    try:
        with ThreadPoolExecutor(threads) as pool:
            train, validation = write_half("train", source.train), write_half("validation", source.validation)
        damaged = train.damaged + validation.damaged
        _check_damaged(damaged, total, allowed)
        if lost := set(source.train.labels.tolist()) - set(train.labels):
            raise DataError(f"class {source.classes[min(lost)]}: none of its training images can be read")
    except BaseException:
        for name in ("train", "validation"):
            shutil.rmtree(folder / name, ignore_errors=True)
        raise
    return Written(
        fingerprint=digest.hexdigest(), train=len(train.labels), validation=len(validation.labels),
        enlarged=train.enlarged + validation.enlarged, damaged=len(damaged),
    )  # fmt: skip


def _check_damaged(damaged: list[UnreadableError], total: int, allowed: Allowed) -> None:
    if allowed.table:
        with allowed.table.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("name", "reason"))
            table.writerows((error.name, error.reason) for error in damaged)
    if len(damaged) > allowed.share * total:
        first = "; ".join(printable(str(error)) for error in damaged[:SHOWN])
        rest = f"; all of them: {allowed.table}" if allowed.table and len(damaged) > SHOWN else ""
        remedy = "repair or remove them, or see data.damaged and data.damaged_share"
        raise DataError(f"data.source: {len(damaged)} of {total} images cannot be read: {first}{rest}; {remedy}")


def _written(chunks: Iterable[_Chunk], folder: Path, images: ImageSet, region_size: int) -> Iterator[_Chunk]:
    """The same chunks, each after it has been written."""
    size, regions = images.size, images.size // region_size
    with (
        ShardWriter(folder, "images", (size, size, 3), np.uint8, rows=len(images)) as pixels,
        ShardWriter(folder, "labels", (), np.int64, rows=len(images)) as labels,
        ShardWriter(folder, "entropy", (regions, regions), np.float32, rows=len(images)) as entropy,
    ):
        for chunk in chunks:
            pixels.append(chunk.pixels)
            labels.append(chunk.labels)
            entropy.append(chunk.entropy)
            yield chunk
        for writer in (pixels, labels, entropy):
            writer.shorten()


def _read_chunk(images: ImageSet, measure: Measure, start: int) -> _Chunk:
    squares, labels, damaged = [], [], []
    for index in range(start, min(start + CHUNK, len(images))):
        try:
            squares.append(images.read(index))
            labels.append(images.labels[index])
        except UnreadableError as error:
            damaged.append(error)
    if not squares:
        nothing = np.empty((0, images.size, images.size, 3), np.uint8)
        return _Chunk(nothing, np.empty(0, np.int64), np.empty((0, 0, 0), np.float32), 0, damaged)
    pixels = np.stack([square.pixels for square in squares])
    enlarged = sum(square.enlarged for square in squares)
    return _Chunk(pixels, np.array(labels, np.int64), measure(pixels), enlarged, damaged)


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
