"""Any set of images, of ours or of others, read a few at a time: samples, a folder, a zip, or prepared shards.

Images are never resized here: what is measured is what is there.
"""

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from d2it.data.decode import read_rgb
from d2it.data.files import ImageFiles, open_files
from d2it.data.imageset import DataError
from d2it.data.layout import class_names
from d2it.data.samples import Samples
from d2it.data.shards import Shards
from d2it.size import Size
from d2it.threads import usable_cores


class Images(Protocol):
    """Images of one size."""

    size: Size  # pixels
    labels: NDArray[np.int64] | None  # (N,); None where there are no classes

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices` (B,), in that order: a new array (B, H, W, 3).

        Raises:
            DataError: a file that is damaged, or of another size.
        """


def open_images(path: Path) -> Images:
    """A samples.npz, a folder of the stage `prepare`, or a folder, zip or tar of images, whose folders are classes.

    Raises:
        DataError: it is none of them, is damaged, or holds no images.
    """
    if path.is_dir():
        return PreparedImages(path) if any(path.glob("images-[0-9]*.npy")) else ImageFolder(path)
    return Samples(path) if is_npz(path) else ImageFolder(path)


def is_npz(path: Path) -> bool:
    """Whether a file is named as NumPy's, or is a zip of arrays by another name."""
    if path.suffix == ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


class PreparedImages:
    """Training or validation images as the stage `prepare` leaves them."""

    def __init__(self, folder: Path) -> None:
        """Map the shards.

        Raises:
            DataError: there are none, or damaged ones.
        """
        try:
            self._images = Shards(folder, "images")
            labels = Shards(folder, "labels")
        except FileNotFoundError:
            raise DataError(f"{folder}: no images: must hold images-*.npy and labels-*.npy") from None
        except (ValueError, OSError) as error:
            raise DataError(f"{folder}: damaged: {' '.join(str(error).split())}") from None
        self.size = Size.of(self._images.row_shape[:2])
        self.labels: NDArray[np.int64] | None = labels.take(np.arange(len(labels)))  # all 0 where there are no classes

    def __len__(self) -> int:
        return len(self._images)

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """See `Images`."""
        return self._images.take(indices)


class Subset:
    """Some images of a set."""

    def __init__(self, images: Images, rows: NDArray[np.int64]) -> None:
        """`rows`: their numbers (n,), ascending."""
        self._images, self._rows, self.size = images, rows, images.size
        self.labels = None if images.labels is None else images.labels[rows]

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """See `Images`."""
        return self._images.take(self._rows[indices])


class ImageFolder:
    """The images below a folder or in a zip, sorted by name; class = the first folder below those that hold all."""

    def __init__(self, path: Path) -> None:
        """List the files, and take the size of the first."""
        self._path, self._files = path, _list(path)
        self._names = self._files.names
        if not self._names:
            raise DataError(f"{path}: no image in it")
        of_image = class_names(self._names)
        self.classes = sorted(set(of_image))
        number = {name: label for label, name in enumerate(self.classes)}
        labels = np.array([number[name] for name in of_image], np.int64)
        self.labels = labels if len(self.classes) > 1 else None
        self.size = Size.of(self._read(self._names[0]).shape[:2])
        self._threads = ThreadPoolExecutor(usable_cores())

    def __len__(self) -> int:
        return len(self._names)

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """See `Images`."""
        return np.stack(list(self._threads.map(self._read_equal, [self._names[i] for i in indices])))

    def _read(self, name: str) -> NDArray[np.uint8]:
        """Pixels of one file."""
        try:
            return np.asarray(read_rgb(self._files.read(name)))
        except Exception as error:  # unreadable file, damaged or encrypted zip entry, or damaged image
            what = " ".join(str(error).split())
            raise DataError(f"{self._path}: {name}: cannot be read: {what}") from None

    def _read_equal(self, name: str) -> NDArray[np.uint8]:
        """Pixels of one file, as large as the first."""
        pixels = self._read(name)
        size = Size.of(pixels.shape[:2])
        if size != self.size:
            first = f"as {self._names[0]}, {self.size}"
            raise DataError(f"{self._path}: {name}: {size} pixels: must be of one size, {first}")
        return pixels


def _list(path: Path) -> ImageFiles:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    try:
        return open_files(path)
    except DataError as error:
        raise DataError(f"{path}: {error}; must be an npz of samples, or a folder, zip or tar of images") from None


def fair_sample(count: int, most: int) -> NDArray[np.int64]:
    """Ascending numbers of at most `most` of `count` images, drawn evenly from all in a fixed way.

    Folders are prepared class by class: the first thousand photos of ImageNet are of one class.
    """
    drawn = np.random.default_rng(0).permutation(count)[:most]
    return np.sort(drawn)


def check_same_size(sides: Sequence[tuple[str, Images]]) -> None:
    """Whether images of all sides, which are given with their names, have one size.

    Raises:
        DataError: they have not.
    """
    first, images = sides[0]
    for name, others in sides[1:]:
        if others.size != images.size:
            raise DataError(f"{first}: {images.size} pixels; {name}: {others.size}: must be equal")
