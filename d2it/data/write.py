"""Images to shards: each shard on its own, so that any number of processes write them, and none is written twice.

A shard holds the images of a fixed range of its half: `images`, `labels` and `entropy`, one .npy file each, and, once
these are whole, `shard-00000.json`, which says what is in them. Within a shard many threads decode and measure, in
bounded memory; neither their number nor that of the processes changes a byte.
"""

import csv
import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from d2it.data.imageset import DataError, ImageSet, Source, UnreadableError, printable
from d2it.data.shards import SHARD_BYTES
from d2it.files import UnreadableFileError, read_json, replacing, write_text
from d2it.size import Size
from d2it.threads import usable_cores

CHUNK = 16  # images that a thread decodes and measures at a time; fixed, so that thread counts change no byte
SHARD_IMAGES = 2048  # at most, of about 1 GiB at most: what is lost where a process is killed
HALVES, NAMES = ("train", "validation"), ("images", "labels", "entropy")
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

    fingerprint: str  # sha256 of the sha256 of all shards' pixels and labels, training before validation
    train: int  # images
    validation: int
    enlarged: int  # number of images that were smaller than the training size
    damaged: int  # number of images that were left out


class Shard(NamedTuple):
    """Images `start` to `stop` of a half, before damaged ones are left out."""

    half: str
    number: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a whole shard holds: the content of its .json file."""

    sha256: str  # of its pixels, then of its labels
    images: int
    labels: list[int]  # that occur, ascending
    enlarged: int
    damaged: list[list[str]]  # name and reason of each image that was left out


class _Chunk(NamedTuple):
    pixels: NDArray[np.uint8]  # (n, H, W, 3)
    labels: NDArray[np.int64]  # (n,)
    entropy: NDArray[np.float32]  # (n, h, w)
    enlarged: int
    damaged: list[UnreadableError]  # of others than those n


def shards_of(source: Source) -> list[Shard]:
    """All shards of a source, in order; an empty half has none."""
    rows = max(1, min(SHARD_IMAGES, SHARD_BYTES // (3 * source.train.size.area)))
    return [
        Shard(half, number, start, min(start + rows, len(images)))
        for half, images in zip(HALVES, (source.train, source.validation), strict=True)
        for number, start in enumerate(range(0, len(images), rows))
    ]


def write_shards(
    source: Source, shards: Iterable[Shard], folder: Path, *, region_size: int, measure: Measure,
    advance: Callable[[int], None] = lambda _: None, threads: int | None = None,
) -> None:  # fmt: skip
    """Write some shards of a source, those that are there already left out.

    Rows: `images` uint8 (H, W, 3), `labels` int64 (), `entropy` float32 (H/S, W/S). `advance(n)` is called when n more
    images are done. All images are read, whatever comes, so that all damaged ones are known at once.
    """
    threads = threads or usable_cores()
    with ThreadPoolExecutor(threads) as pool:
        for shard in shards:
            if read_record(folder, shard) is not None:
                advance(shard.stop - shard.start)
                continue
            images = source.train if shard.half == "train" else source.validation
            starts = range(shard.start, shard.stop, CHUNK)
            sizes = (images.size, images.size.divided(region_size))
            chunks = _in_order(pool, partial(_read_chunk, images, measure, shard.stop), starts, threads + 1)
            _write_shard(shard, folder, chunks, sizes=sizes, advance=advance)


def read_record(folder: Path, shard: Shard) -> Record | None:
    """What a shard holds, None where it is not whole."""
    with suppress(UnreadableFileError, TypeError, FileNotFoundError, ValueError):
        record = Record(**read_json(record_path(folder, shard)))
        if not record.images:
            return record
        pixels, labels, entropy = (
            np.load(_path(folder, shard, name), mmap_mode="r", allow_pickle=False) for name in NAMES
        )
        if len(entropy) == record.images and _sha256(pixels, labels) == record.sha256:
            return record
    return None


def gather(source: Source, folder: Path, allowed: Allowed) -> Written:
    """Look at all shards of a source together, which are whole. Where they cannot be used they are removed.

    Raises:
        DataError: more damaged images than are allowed, or a class that loses all of its training images by them.
    """
    records = {shard: Record(**read_json(record_path(folder, shard))) for shard in shards_of(source)}
    total = len(source.train) + len(source.validation)
    damaged = [one for record in records.values() for one in record.damaged]
    try:
        _check_damaged(damaged, total, allowed)
        _check_classes(source, records)
    except DataError:  # of other data, or with other params, all of them would be others
        for half in HALVES:
            shutil.rmtree(folder / half, ignore_errors=True)
        raise
    digest = hashlib.sha256()
    for shard, record in records.items():
        digest.update(f"{shard.half} {record.sha256}\n".encode())
    for half in HALVES:
        (folder / half).mkdir(parents=True, exist_ok=True)
    counts = {half: sum(record.images for shard, record in records.items() if shard.half == half) for half in HALVES}
    return Written(
        fingerprint=digest.hexdigest(), **counts, damaged=len(damaged),
        enlarged=sum(record.enlarged for record in records.values()),
    )  # fmt: skip


def check_space(source: Source, folder: Path) -> None:
    """A memory-mapped write to a full disk kills the process without a word; so say it before.

    Raises:
        DataError: too little space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = (len(source.train) + len(source.validation)) * source.train.size.area * 3
    there = sum(path.stat().st_size for half in HALVES for path in (folder / half).glob("images-*.npy"))
    free = shutil.disk_usage(folder).free
    if size - there > free:
        raise DataError(f"{folder}: the images take {size / 1e9:.1f} GB, free are {free / 1e9:.1f} GB")


def _check_classes(source: Source, records: dict[Shard, Record]) -> None:
    kept = {label for shard, record in records.items() if shard.half == "train" for label in record.labels}
    if lost := set(source.train.labels.tolist()) - kept:
        raise DataError(f"class {source.classes[min(lost)]}: none of its training images can be read")


def _check_damaged(damaged: list[list[str]], total: int, allowed: Allowed) -> None:
    if allowed.table:
        with allowed.table.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("name", "reason"))
            table.writerows(damaged)
    if len(damaged) > allowed.share * total:
        first = "; ".join(printable(f"{name}: {reason}") for name, reason in damaged[:SHOWN])
        rest = f"; all of them: {allowed.table}" if allowed.table and len(damaged) > SHOWN else ""
        remedy = "repair or remove them, or see data.damaged and data.damaged_share"
        raise DataError(f"data.source: {len(damaged)} of {total} images cannot be read: {first}{rest}; {remedy}")


def _write_shard(
    shard: Shard, folder: Path, chunks: Iterable[_Chunk], *, sizes: tuple[Size, Size], advance: Callable[[int], None]
) -> None:
    """`sizes`: of an image, pixels, and of its map of regions."""
    n, (size, regions) = shard.stop - shard.start, sizes
    (folder / shard.half).mkdir(parents=True, exist_ok=True)
    pixels = _new_file(_path(folder, shard, "images"), (n, *size, 3), np.uint8)
    labels = _new_file(_path(folder, shard, "labels"), (n,), np.int64)
    entropy = _new_file(_path(folder, shard, "entropy"), (n, *regions), np.float32)
    digest, rows, enlarged, damaged = hashlib.sha256(), 0, 0, []
    for chunk in chunks:
        end = rows + len(chunk.labels)
        if end > rows:
            pixels[rows:end], labels[rows:end], entropy[rows:end] = chunk.pixels, chunk.labels, chunk.entropy
            digest.update(chunk.pixels.data)
        rows, enlarged = end, enlarged + chunk.enlarged
        damaged += [[error.name, error.reason] for error in chunk.damaged]
        advance(len(chunk.labels) + len(chunk.damaged))
    digest.update(labels[:rows].astype("<i8").data)
    record = Record(
        sha256=digest.hexdigest(), images=rows, labels=np.unique(labels[:rows]).tolist(), enlarged=enlarged,
        damaged=damaged,
    )  # fmt: skip
    if rows < n:
        for name, array in zip(NAMES, (pixels, labels, entropy), strict=True):
            _shorten(_path(folder, shard, name), array[:rows])
    write_text(record_path(folder, shard), json.dumps(asdict(record)))


def _new_file(path: Path, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """A .npy file mapped into memory; never one that has a link elsewhere."""
    path.unlink(missing_ok=True)
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    return array


def _shorten(path: Path, rows: NDArray[Any]) -> None:
    """Leave only these rows in a file of them; no file where there are none."""
    if not len(rows):
        path.unlink()
        return
    with replacing(path) as part, part.open("wb") as file:
        np.save(file, rows)


def _path(folder: Path, shard: Shard, name: str) -> Path:
    return folder / shard.half / f"{name}-{shard.number:05d}.npy"


def record_path(folder: Path, shard: Shard) -> Path:
    """The file that says that a shard is whole."""
    return folder / shard.half / f"shard-{shard.number:05d}.json"


def _sha256(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(pixels.data)
    digest.update(labels.astype("<i8").data)
    return digest.hexdigest()


def _read_chunk(images: ImageSet, measure: Measure, stop: int, start: int) -> _Chunk:
    crops, labels, damaged = [], [], []
    for index in range(start, min(start + CHUNK, stop)):
        try:
            crops.append(images.read(index))
            labels.append(images.labels[index])
        except UnreadableError as error:
            damaged.append(error)
    if not crops:
        nothing = np.empty((0, *images.size, 3), np.uint8)
        return _Chunk(nothing, np.empty(0, np.int64), np.empty((0, 0, 0), np.float32), 0, damaged)
    pixels = np.stack([crop.pixels for crop in crops])
    enlarged = sum(crop.enlarged for crop in crops)
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
