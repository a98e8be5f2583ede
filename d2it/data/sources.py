"""`data.source` -> training and validation images: crops of photos, or any folder or zip of images."""

import logging
from pathlib import Path

import numpy as np

from d2it.data.crops import CLASSES, halves, random_crops, read_photos
from d2it.data.decode import decode
from d2it.data.files import ImageFiles, open_files
from d2it.data.imageset import DataError, ImageSet, Source, Square
from d2it.data.splits import class_names, split_names

log = logging.getLogger(__name__)


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


def open_images(path: Path, size: int, validation: float, seed: int) -> Source:
    """Images of a folder or zip; class = the folder that holds the image. `size`: height and width, pixels.

    `validation`: share held out where the source has no split of its own (see splits.py).

    Raises:
        DataError: no folder or zip, or no image in it to train on. Reading an image raises it too, if that is damaged.
    """
    files = open_files(path)
    if files.ignored:
        log.warning("data.source = %s: %d files ignored: hidden, or not JPEG, PNG or WebP", path, files.ignored)
    if not files.names:
        raise DataError(f"data.source = {path}: no image in it (.jpg, .jpeg, .png, .webp)")
    split = split_names(files.names, validation, seed)
    if not split.train:
        raise DataError(f"data.source = {path}: {len(files.names)} images, none left to train on; add images")
    if split.unused:
        unused = f"{len(split.unused)} images not used: in neither the training nor the validation folder"
        log.warning("data.source = %s: %s, the first is %s", path, unused, split.unused[0])
    class_of = dict(zip(files.names, class_names(files.names), strict=True))
    classes = sorted({class_of[name] for name in split.train + split.validation})
    untrained = sorted(set(classes) - {class_of[name] for name in split.train})
    if untrained:
        log.warning("data.source = %s: classes without a training image: %s", path, ", ".join(untrained))
    number = {name: label for label, name in enumerate(classes)}

    def image_set(names: list[str]) -> ImageSet:
        labels = np.array([number[class_of[name]] for name in names], np.int64)
        return ImageSet(size, labels, lambda index: _read(path, files, names[index], size))

    return Source(image_set(split.train), image_set(split.validation), classes)


def without_labels(source: Source) -> Source:
    """The same images with no classes: every label 0."""

    def unlabelled(images: ImageSet) -> ImageSet:
        return ImageSet(images.size, np.zeros_like(images.labels), images.read)

    return Source(unlabelled(source.train), unlabelled(source.validation), [])


def _read(path: Path, files: ImageFiles, name: str, size: int) -> Square:
    try:
        return decode(files.read(name), size)
    except Exception as error:  # unreadable file, damaged or encrypted zip entry, or damaged image
        what = " ".join(str(error).split())
        remedy = f"delete {path / name}" if path.is_dir() else f"zip -d '{path}' '{name}'"
        raise DataError(
            f"data.source = {path}: {name}: cannot be read: {what}; repair it or remove it: {remedy}"
        ) from None
