"""`data.source` -> training and validation images: crops of photos, emoji, or a data set in one of many formats."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from d2it.data.crops import CLASSES, halves, random_crops, read_photos
from d2it.data.decode import decode
from d2it.data.files import ImageFiles
from d2it.data.formats import SHOWN, counted, lines, read_path
from d2it.data.imageset import Cropped, DataError, ImageSet, Source, UnreadableError, printable
from d2it.data.labelled import Rules
from d2it.data.layout import Half, Layout
from d2it.data.torchvision_sets import PREFIX, open_torchvision, path_of
from d2it.data.twemoji import open_twemoji
from d2it.params.sections import DataParams
from d2it.size import Size

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
    elif data.source.startswith(PREFIX):
        rules = Rules(data.validation, data.seed, data.splits == "folders", data.labels == "folder")
        source = _as_source(data.source, data.image_size, rules, lambda: open_torchvision(data.source, root, rules))
    else:
        source = open_images(
            files_of(data.source, root) or root, data.image_size, data.validation, data.seed,
            splits=data.splits == "folders", labels=data.labels == "folder",
        )  # fmt: skip
    return source if data.labels == "folder" else without_labels(source)


def files_of(source: str, root: Path) -> Path | None:
    """Where the user's files of a `data.source` should lie; None where it needs none.

    Raises:
        DataError: a data set of torchvision without a path.
    """
    if source in ("skimage", "twemoji"):
        return None
    path = path_of(source) if source.startswith(PREFIX) else source
    return root / Path(path).expanduser()


def open_crops(size: Size, train_crops: int, validation_crops: int, seed: int) -> Source:
    """Crops of scikit-image's photos; class = photo. `size`: of a crop, pixels.

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
    path: Path, size: Size, validation: float, seed: int, *, splits: bool = True, labels: bool = True
) -> Source:
    """Images at a path, in one of the formats that formats.py lists.

    Args:
        path: of the folder, zip, tar or parquet file.
        size: pixels.
        validation: share held out where the folders are no split.
        seed: of what is held out.
        splits: whether folders and files may be a split.
        labels: whether images have classes.

    Raises:
        DataError: no such format, no image in it to train on, or folders or labels that cannot be understood.
    """
    rules = Rules(validation, seed, splits, labels)
    return _as_source(str(path), size, rules, lambda: read_path(path, rules))


def summary(source: Source) -> list[str]:
    """What a source holds: a line for each half."""
    rows = []
    for half, images in (("train", source.train), ("validation", source.validation)):
        present = [source.classes[label] for label in np.unique(images.labels) if label >= 0] if source.classes else []
        names = present if len(present) <= SHOWN else [present[0], "...", present[-1]]
        classes = f" of {len(present)} classes ({', '.join(names)})" if names else ""
        files = f", {images.names[0]} ... {images.names[-1]}" if images.names else ""
        rows.append(printable(f"{half}: {len(images)} images{classes}{files}"))
    return rows


def _as_source(called: str, size: Size, rules: Rules, read: Callable[[], tuple[ImageFiles, Layout]]) -> Source:
    """What a reader of a format gives, with its remarks logged and its errors named; `called`: as data.source."""
    try:
        files, layout = read()
        if not layout.train.names:
            total = sum(map(len, (layout.validation.names, *layout.left_out.values())))
            raise DataError(f"{total} images, none left to train on{counted(layout.left_out)}; add images")
    except DataError as error:
        raise DataError(f"data.source = {called}: {printable(str(error))}") from None
    left_out = {
        reason: [*files.left_out.get(reason, []), *layout.left_out.get(reason, [])]
        for reason in files.left_out | layout.left_out
    }
    for line in (*layout.remarks, *lines(left_out)):
        log.warning("data.source = %s: %s", called, printable(line))

    def image_set(half: Half) -> ImageSet:
        return ImageSet(
            size, np.array(half.labels, np.int64), lambda index: _read(files, half.names[index], size), half.names
        )

    classes = layout.classes if rules.labels else []
    return Source(image_set(layout.train), image_set(layout.validation), classes, left_out)


def without_labels(source: Source) -> Source:
    """The same images with no classes: every label 0."""

    def unlabelled(images: ImageSet) -> ImageSet:
        return ImageSet(images.size, np.zeros_like(images.labels), images.read)

    return Source(unlabelled(source.train), unlabelled(source.validation), [])


def _read(files: ImageFiles, name: str, size: Size) -> Cropped:
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
