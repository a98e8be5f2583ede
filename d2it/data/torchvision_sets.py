"""`data.source: torchvision:CIFAR10:PATH`: data sets that torchvision reads, where their files lie at PATH already.

PATH is what torchvision calls `root`; nothing is downloaded. Halves are torchvision's splits: its training and its
first held-out split; a further one is left out. Sets without splits have a share held out. Image 17 of a split is
`train/17`.

Image files are read as they are, where torchvision lets us (`loader`); of others its pixels are taken. Sets that it
keeps in memory, of which the largest is STL10 with 0.4 GB, are in memory here too. CIFAR's files
are pickles, which torchvision itself unpickles, once it has compared them with its checksums; this project unpickles
nothing.
"""

import inspect
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from d2it.data.files import ImageFiles
from d2it.data.imageset import DataError
from d2it.data.labelled import Labelled, Rules, by_number, lay_out
from d2it.data.layout import Layout

PREFIX = "torchvision:"
_TRUE_OR_FALSE = {"train": {"train": True}, "test": {"train": False}}
_TEST = {"train": {"split": "train"}, "test": {"split": "test"}}
_VAL_TEST = {"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}}
_WHOLE: dict[str, dict[str, Any]] = {"": {}}
# What to ask torchvision's class of that name for, by the word of the split.
SETS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "CIFAR10": _TRUE_OR_FALSE, "CIFAR100": _TRUE_OR_FALSE, "MNIST": _TRUE_OR_FALSE, "FashionMNIST": _TRUE_OR_FALSE,
    "KMNIST": _TRUE_OR_FALSE, "USPS": _TRUE_OR_FALSE,
    "SVHN": _TEST, "STL10": _TEST, "Food101": _TEST, "GTSRB": _TEST, "StanfordCars": _TEST,
    "Flowers102": _VAL_TEST, "DTD": _VAL_TEST, "FGVCAircraft": _VAL_TEST,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "Imagenette": {"train": {"split": "train"}, "val": {"split": "val"}},
    "Country211": {"train": {"split": "train"}, "valid": {"split": "valid"}, "test": {"split": "test"}},
    "EuroSAT": _WHOLE, "Caltech101": _WHOLE, "Caltech256": _WHOLE,
}  # fmt: skip


def open_torchvision(source: str, root: Path, rules: Rules) -> tuple[ImageFiles, Layout]:
    """The data set of `torchvision:NAME:PATH`; a relative path starts at `root`.

    Raises:
        DataError: another name, or files that are missing or damaged.
    """
    folder = root / Path(path_of(source)).expanduser()
    name = source.removeprefix(PREFIX).partition(":")[0]
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    sets = {split: _open(name, folder, arguments) for split, arguments in SETS[name].items()}
    of_split = {split: _labels(images) for split, images in sets.items()}
    labels, classes = np.concatenate(list(of_split.values())), _class_names(next(iter(sets.values())))
    if not classes:
        labels, classes = by_number(labels)
    images = Labelled(
        names=[f"{split}/{row}".lstrip("/") for split, of_set in of_split.items() for row in range(len(of_set))],
        halves=[split for split, of_set in of_split.items() for _ in of_set],
        labels=labels, classes=classes,
    )  # fmt: skip

    def read(image: str) -> bytes:
        split, _, row = image.rpartition("/")
        return _content(sets[split][int(row)][0])

    return ImageFiles(images.names, {}, read), lay_out(images, rules)


def path_of(source: str) -> str:
    """PATH of `torchvision:NAME:PATH`.

    Raises:
        DataError: there is none, or the name is that of no set.
    """
    name, _, path = source.removeprefix(PREFIX).partition(":")
    if name not in SETS or not path:
        raise DataError(f"must be {PREFIX}NAME:PATH, with a NAME of {', '.join(SETS)}")
    return path


def _open(name: str, folder: Path, arguments: Mapping[str, Any]) -> Any:
    import torchvision  # slow, and no other source needs it

    kind = getattr(torchvision.datasets, name)
    own = {"loader": _file} if "loader" in inspect.signature(kind).parameters else {}
    try:
        return kind(str(folder), **arguments, **own)
    except Exception as error:  # torchvision raises nearly every type on missing and damaged files
        wanted = "".join(f", {key} = {value}" for key, value in arguments.items())
        reason = " ".join(str(error).split()).partition(" You can use download=True")[0] or type(error).__name__
        raise DataError(f"{folder}: torchvision cannot read {name}{wanted} there ({reason})") from None


def _file(path: str | Path) -> bytes:
    return Path(path).read_bytes()


def _labels(images: Any) -> NDArray[np.int64]:
    """Of a data set of torchvision, which has no one name for them."""
    for attribute in ("targets", "labels", "_labels", "y"):
        if hasattr(images, attribute):
            return np.asarray(getattr(images, attribute), np.int64)
    return np.array([label for _, label in images._samples], np.int64)


def _class_names(images: Any) -> list[str]:
    """Empty where the classes have none."""
    names: Sequence[Any] = getattr(images, "classes", None) or getattr(images, "categories", None) or []
    return [", ".join(name) if isinstance(name, tuple) else str(name) for name in names]


def _content(image: Image.Image | bytes) -> bytes:
    """A file that holds the same pixels."""
    if isinstance(image, bytes):
        return image
    file = io.BytesIO()
    image.save(file, "TIFF")  # not compressed, and of every mode
    return file.getvalue()
