"""`data.source` -> training and validation images: crops of photos, or any folder, zip or tar of images."""

import logging
from pathlib import Path

import numpy as np

from d2it.data.crops import CLASSES, halves, random_crops, read_photos
from d2it.data.decode import decode
from d2it.data.files import ImageFiles, open_files
from d2it.data.imageset import DataError, ImageSet, Source, Square, UnreadableError, printable
from d2it.data.layout import Half, read_layout
from d2it.data.twemoji import open_twemoji
from d2it.params.sections import DataParams

SHOWN = 3  # names of files that are left out

log = logging.getLogger(__name__)


def open_source(data: DataParams, root: Path) -> Source:
    """The images that `data` names; a relative path starts at `root`, the repository's.

    Raises:
        DataError: they cannot be used.
    """
    if data.source == "skimage":
        source = open_crops(data.image_size, data.train_crops, data.validation_crops, data.seed)
    elif data.source == "twemoji":
        source = open_twemoji(data.image_size, data.validation, data.seed)
    else:
        source = open_images(
            root / Path(data.source).expanduser(), data.image_size, data.validation, data.seed,
            splits=data.splits == "folders", labels=data.labels == "folder",
        )  # fmt: skip
    return source if data.labels == "folder" else without_labels(source)


def open_crops(size: int, train_crops: int, validation_crops: int, seed: int) -> Source:
    """Crops of scikit-image's photos; class = photo. `size`: height and width of a crop, pixels.

    Raises:
        DataError: a photo is missing, or `size` is larger than half a photo.
    """
    train, validation = zip(*map(halves, read_photos()), strict=True)
    return Source(
        random_crops(train, size, train_crops, np.random.default_rng([seed, 0])),
        random_crops(validation, size, validation_crops, np.random.default_rng([seed, 1])),
        CLASSES,
    )


def open_images(
    path: Path, size: int, validation: float, seed: int, *, splits: bool = True, labels: bool = True
) -> Source:
    """Images of a folder, zip or tar, whose folders mean what layout.py says.

    Args:
        path: of the folder, zip or tar.
        size: height and width, pixels.
        validation: share held out where the folders are no split.
        seed: of what is held out.
        splits: whether folders may be a split.
        labels: whether folders are classes.

    Raises:
        DataError: no folder, zip or tar, no image in it to train on, or folders that cannot be understood.
    """
    try:
        files = open_files(path)
        if not files.names:
            raise DataError(f"no image in it{_counted(files.left_out)}")
        layout = read_layout(files.names, validation, seed, splits=splits, labels=labels)
        if not layout.train.names:
            raise DataError(f"{len(files.names)} images, none left to train on{_counted(layout.left_out)}; add images")
    except DataError as error:
        raise DataError(f"data.source = {path}: {printable(str(error))}") from None
    left_out = files.left_out | layout.left_out
    for line in (*layout.remarks, *_lines(left_out)):
        log.warning("data.source = %s: %s", path, printable(line))

    def image_set(half: Half) -> ImageSet:
        return ImageSet(
            size, np.array(half.labels, np.int64), lambda index: _read(files, half.names[index], size), half.names
        )

    return Source(image_set(layout.train), image_set(layout.validation), layout.classes if labels else [], left_out)


def summary(source: Source) -> list[str]:
    """What a source holds: a line for each half."""
    lines = []
    for half, images in (("train", source.train), ("validation", source.validation)):
        present = [source.classes[label] for label in np.unique(images.labels) if label >= 0] if source.classes else []
        names = present if len(present) <= SHOWN else [present[0], "...", present[-1]]
        classes = f" of {len(present)} classes ({', '.join(names)})" if names else ""
        files = f", {images.names[0]} ... {images.names[-1]}" if images.names else ""
        lines.append(printable(f"{half}: {len(images)} images{classes}{files}"))
    return lines


def _lines(left_out: dict[str, list[str]]) -> list[str]:
    return [
        f"{len(names)} files left out, {reason}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for reason, names in left_out.items()
    ]


def _counted(left_out: dict[str, list[str]]) -> str:
    return "".join(f"; {line}" for line in _lines(left_out))


def without_labels(source: Source) -> Source:
    """The same images with no classes: every label 0."""

    def unlabelled(images: ImageSet) -> ImageSet:
        return ImageSet(images.size, np.zeros_like(images.labels), images.read)

    return Source(unlabelled(source.train), unlabelled(source.validation), [])


def _read(files: ImageFiles, name: str, size: int) -> Square:
    try:
        return decode(files.read(name), size)
    except Exception as error:  # unreadable file, damaged or encrypted zip entry, or damaged image
        raise UnreadableError(name, _reason(error)) from None


def _reason(error: Exception) -> str:
    """Why an image cannot be read, and what to do where that is not to repair it or to remove it."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    if isinstance(error, PermissionError):
        return "this user may not read it: chmod"
    if isinstance(error, FileNotFoundError):
        return "a link that leads nowhere"
    if isinstance(error, RuntimeError) and "encrypted" in text:
        return "encrypted: unzip it with its password, and zip it without"
    return error.strerror if isinstance(error, OSError) and error.strerror else text
