"""Samples at rest: `samples.npz` as the ADM evaluator reads it, written and read a few images at a time.

`arr_0` is uint8 (N, H, W, 3), `arr_1`, which may be missing, their labels (N,). Each is a .npy file in a zip; where
they are stored and not compressed, rows lie at known places of the file, and only those asked for are read.

`python -m d2it.data.samples SAMPLES.npz FOLDER` writes the images as PNG files.
"""

import argparse
import io
import os
import sys
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from d2it.data.arrays import read_header
from d2it.data.imageset import DataError
from d2it.errors import UserError
from d2it.files import replacing
from d2it.progress import Progress
from d2it.size import Size

IMAGES, LABELS = "arr_0", "arr_1"
READ_BYTES = 1 << 22  # at a time
_LOCAL_HEADER_BYTES = 30  # of a zip's entry, before its name


@contextmanager
def npz_entry(archive: zipfile.ZipFile, name: str, shape: Sequence[int], dtype: np.dtype | type) -> Iterator[IO[bytes]]:
    """Write one array of an npz in pieces: yields where its values go, in C order, the same bytes at any time."""
    empty = np.empty((0, *shape[1:]), dtype)
    header = np.lib.format.header_data_from_array_1_0(empty) | {"shape": tuple(shape)}
    entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, header)
    entry.file_size = start.tell() + int(np.prod(shape, dtype=np.int64)) * empty.itemsize  # zip64 where it is needed
    with archive.open(entry, "w") as out:
        out.write(start.getvalue())
        yield out


class SamplesWriter:
    """Writes `samples.npz`, batch after batch; the file appears whole or not at all. Use as a context manager."""

    def __init__(self, path: Path, *, images: int, size: Size) -> None:
        """`images`: how many will come in all; `size`: pixels."""
        self.path, self.images, self.size = path, images, size
        self._labels = np.empty(images, np.int64)
        self._written = 0
        self._open = ExitStack()

    def __enter__(self) -> "SamplesWriter":
        with ExitStack() as opened:
            part = opened.enter_context(replacing(self.path, durable=True))
            self._archive = opened.enter_context(zipfile.ZipFile(part, "w"))
            self._entry = opened.enter_context(ExitStack())
            shape = (self.images, *self.size, 3)
            self._pixels = self._entry.enter_context(npz_entry(self._archive, IMAGES, shape, np.uint8))
            self._open = opened.pop_all()
        return self

    def append(self, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> None:
        """Write the next images (B, H, W, 3), and their labels (B,).

        Raises:
            ValueError: another shape or type, or more images than announced.
        """
        end = self._written + len(images)
        if images.dtype != np.uint8 or images.shape[1:] != (*self.size, 3) or len(labels) != len(images):
            raise ValueError(
                f"{self.path}: images {images.dtype} {images.shape} and labels {labels.shape}: must be uint8 "
                f"(B, {self.size.height}, {self.size.width}, 3) and (B,)"
            )
        if end > self.images:
            raise ValueError(f"{self.path}: {end} images, announced {self.images}")
        self._pixels.write(np.ascontiguousarray(images).data)
        self._labels[self._written : end] = labels
        self._written = end

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: object) -> None:
        with self._open:
            if error is not None:
                raise error  # so that nothing takes the file's place
            self._finish()

    def _finish(self) -> None:
        if self._written != self.images:
            raise ValueError(f"{self.path}: {self._written} images, announced {self.images}")
        self._entry.close()
        with npz_entry(self._archive, LABELS, self._labels.shape, np.int64) as out:
            out.write(self._labels.data)


class Samples:
    """The images of an npz with `arr_0`, read as they are asked for; safe to use from many threads."""

    def __init__(self, path: Path, *, check: bool = True) -> None:
        """`check`: read the images once, to compare them with the checksum that the file holds.

        Raises:
            DataError: no such file, a damaged, cut or pickled one, or one that holds something else.
        """
        self.path = path
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                shape = self._open_images(file, archive, check)
                self.labels = _read_labels(archive, shape[0]) if f"{LABELS}.npy" in archive.namelist() else None
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, KeyError) as error:
            if isinstance(error, UserError):
                raise
            what = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path}: damaged, or not an npz file: {what}") from None
        weakref.finalize(self, self._file.close)
        self._count, self.size = shape[0], Size.of(shape[1:3])
        self._row_bytes = self.size.area * 3

    def __len__(self) -> int:
        return self._count

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices` (B,), in that order: a new array (B, H, W, 3).

        Raises:
            IndexError: an index below 0 or beyond the last image.
        """
        indices = np.asarray(indices)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"images {indices.min()}..{indices.max()} of {len(self)}")
        images = np.empty((len(indices), *self.size, 3), np.uint8)
        for run in np.split(np.arange(len(indices)), np.flatnonzero(np.diff(indices) != 1) + 1):
            if len(run):
                place = self._start + int(indices[run[0]]) * self._row_bytes
                _read_into(self._file.fileno(), images[run[0] : run[-1] + 1].data.cast("B"), place, self.path)
        return images

    def _open_images(self, file: IO[bytes], archive: zipfile.ZipFile, check: bool) -> tuple[int, ...]:
        """Find the pixels, in the file itself or, where they are compressed, in a temporary one; their shape."""
        name = f"{IMAGES}.npy"
        if name not in archive.namelist():
            held = ", ".join(archive.namelist()[:5]) or "nothing"
            raise DataError(f"{self.path}: no {IMAGES} in it, but {held}: must be uint8 (N, H, W, 3) named {IMAGES}")
        entry = archive.getinfo(name)
        with archive.open(entry) as stream:
            shape = self._shape(stream, entry)
            header = stream.tell()
            if entry.compress_type != zipfile.ZIP_STORED:
                self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as this object
                self._start = 0
                while block := stream.read(READ_BYTES):  # compares the checksum at its end
                    self._file.write(block)
                self._file.flush()
                return shape
            while check and stream.read(READ_BYTES):
                pass
        file.seek(entry.header_offset)
        local = file.read(_LOCAL_HEADER_BYTES)
        extra = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        self._file = self.path.open("rb")
        self._start = entry.header_offset + _LOCAL_HEADER_BYTES + extra + header
        return shape

    def _shape(self, stream: IO[bytes], entry: zipfile.ZipInfo) -> tuple[int, ...]:
        shape, fortran, dtype = read_header(stream)
        if dtype.hasobject:
            raise DataError(f"{self.path}: {IMAGES}: pickled objects: must be uint8 (N, H, W, 3)")
        if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or fortran:
            order = ", in Fortran's order" if fortran else ""
            raise DataError(f"{self.path}: {IMAGES}: {dtype} {shape}{order}: must be uint8 (N, H, W, 3)")
        if 0 in shape:
            raise DataError(f"{self.path}: {IMAGES}: {shape}: no images in it")
        if entry.file_size != stream.tell() + int(np.prod(shape, dtype=np.int64)):
            raise DataError(f"{self.path}: {IMAGES}: cut: holds fewer or more bytes than its {shape[0]} images")
        return shape


def _read_labels(archive: zipfile.ZipFile, images: int) -> NDArray[np.int64]:
    with archive.open(f"{LABELS}.npy") as stream:
        labels = np.lib.format.read_array(stream, allow_pickle=False)
    if labels.shape != (images,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{LABELS}: {labels.dtype} {labels.shape}: must be {images} integers, a label for each image")
    return np.asarray(labels, np.int64)


def _read_into(file: int, buffer: memoryview, place: int, path: Path) -> None:
    """Fill `buffer` from `place` on; at no common position, so that threads do not disturb each other."""
    done = 0
    while done < len(buffer):
        block = os.pread(file, min(READ_BYTES, len(buffer) - done), place + done)
        if not block:
            raise DataError(f"{path}: cut while it was read")
        buffer[done : done + len(block)] = block
        done += len(block)


def export_png(samples: Samples, folder: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Write 000000.png, 000001.png, ...; `advance(n)` is called when n more are written."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(len(samples)):
        with replacing(folder / f"{i:06d}.png") as part:
            Image.fromarray(samples.take(np.array([i]))[0]).save(part, format="PNG")
        advance(1)


def main() -> int:
    """Export; 2 for a file that holds no samples."""
    parser = argparse.ArgumentParser("python -m d2it.data.samples", description="Writes samples as PNG files.")
    parser.add_argument("samples", type=Path, help="samples.npz")
    parser.add_argument("folder", type=Path, help="made if need be; gets 000000.png, 000001.png, ...")
    chosen = parser.parse_args()
    try:
        samples = Samples(chosen.samples)
        with Progress(len(samples), "export") as progress:
            export_png(samples, chosen.folder, progress.update)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
