"""What a folder means: which images train, which validate, and the class of each, by rules on file names alone.

1. Folders that hold everything count for nothing: `ILSVRC/Data/CLS-LOC/train/...` is `train/...`.
2. Where the folders then are a training and a validation folder (`split_word`; of several kinds of validation folders
   the first of HELD_OUT), these are the halves, and what lies beside them is left out. Else a share is held out.
3. In each half, folders that hold all of it count for nothing either. The class of an image is the first folder then,
   as in torchvision's ImageFolder. An image in no folder beside such folders is left out; without them all are of one.
4. Classes are those of the training images, sorted by name. A validation image of another class has no label.
5. FFHQ's folders of a thousand photos, `01000/01234.png`, are no classes where all images lie so: all are of one.
"""

import functools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2it.data.imageset import DataError

TRAINING = ("train", "training", "trainset")
HELD_OUT = ("validation", "val", "valid", "dev", "eval", "test", "testing", "testset")
BESIDE = {"images", "image", "imgs", "img", "photos", "data", "set", "ilsvrc", "imagenet"}  # words that change nothing
THOUSAND = re.compile(r"(\d\d)000/\1\d{3}\.\w+")  # folder and photo of FFHQ
COPIES = {"images1024x1024", "in-the-wild-images", "thumbnails128x128"}  # of FFHQ: the same photos
ONE_CLASS = "images"  # where no folder names it
NO_LABEL = -1
NEITHER_HALF, NO_FOLDER = "beside the training and the validation folder", "in no class folder"  # reasons

Parts = dict[str, tuple[str, ...]]  # of each name: its folders and its file


@dataclass(frozen=True)
class Half:
    """Training or validation images, in order: by name, or as the data set has them."""

    names: list[str]
    labels: list[int]  # number of each one's class; NO_LABEL where it is not one of the training images


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A data set, as its names have it. Each name is in exactly one of `train`, `validation` and `left_out`."""

    train: Half
    validation: Half
    classes: list[str]  # of the training images, by name, or as the data set has them
    left_out: dict[str, list[str]]  # names by reason
    remarks: list[str]  # what a user may not expect; a line each


class _Split(NamedTuple):
    train: list[str]  # sorted, as `validation`
    validation: list[str]
    class_of: dict[str, str]
    left_out: dict[str, list[str]]


def read_layout(names: Collection[str], share: float, seed: int, *, splits: bool = True, labels: bool = True) -> Layout:
    """Apply the rules to the names of all images, with forward slashes, in any order.

    Args:
        names: without duplicates.
        share: held out where folders are no split: round(share · N) images, at least one if share > 0, the first of a
            seeded permutation of the sorted names.
        seed: of that permutation.
        splits: False: no folder is taken for a split.
        labels: False: no folder is taken for a class, and all images are of one.

    Raises:
        DataError: folders look like splits and cannot be taken for them, or hold copies of the same images.
    """
    parts = {name: _parts(name) for name in sorted(names)}
    depth = len(_holding(parts))
    below = {name: part[depth:] for name, part in parts.items()}
    folders = {part[0] for part in below.values() if len(part) > 1}
    if len(copies := sorted(COPIES & folders)) > 1:
        raise DataError(f"{', '.join(copies)} hold the same photos; name one of these folders")
    halves = _halves(folders) if splits else None
    if splits:
        inside = {name: part[1:] for name, part in below.items() if part[0] in halves} if halves else below
        _refuse_other_splits(inside)
    split = _by_folders(below, halves, labels) if halves else _by_share(parts, share, seed, labels)
    classes = sorted({split.class_of[name] for name in split.train})
    number = {name: label for label, name in enumerate(classes)}

    def half(names: list[str]) -> Half:
        return Half(names, [number.get(split.class_of.get(name, ""), NO_LABEL) for name in names])

    return Layout(
        train=half(split.train), validation=half(split.validation), classes=classes,
        left_out={reason: names for reason, names in split.left_out.items() if names},
        remarks=list(_remarks(parts, split, classes)),
    )  # fmt: skip


def class_names(names: Collection[str]) -> list[str]:
    """Class of each image of a set without halves, in the order of `names`, by rule 3; nothing is left out."""
    classes = _class_of({name: _parts(name) for name in names})
    return [classes.get(name, ONE_CLASS) for name in names]


def by_share(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending indices of the training and of the validation images among `count`; see `read_layout`."""
    held_out = max(1, round(share * count)) if share > 0 else 0
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


@functools.cache  # a million names have few folders
def split_word(folder: str) -> str | None:
    """What makes a folder a half: 'train2017' -> 'train', 'ILSVRC2012_img_val' -> 'val', 'test tube' -> None."""
    words = [word for word in re.findall("[a-z]+", folder.lower()) if word not in BESIDE]
    return words[0] if len(words) == 1 and words[0] in TRAINING + HELD_OUT else None


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file; of a million names, of which few are written in an archive's odd way."""
    return PurePosixPath(name).parts if "//" in name or "/./" in name else tuple(name.split("/"))


def _holding(parts: Parts) -> list[str]:
    """The folders that hold everything, from the outermost."""
    folders = [part[:-1] for part in parts.values()]
    both = zip(min(folders, default=()), max(folders, default=()), strict=False)  # all others lie between these
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], both)]


def _halves(folders: set[str]) -> tuple[str, str] | None:
    """The training and the validation folder among `folders`, where there are both."""
    training, held_out = ([f for f in sorted(folders) if split_word(f) in words] for words in (TRAINING, HELD_OUT))
    if not training or not held_out:
        return None
    first = min((split_word(folder) or "" for folder in held_out), key=HELD_OUT.index)
    held_out = [folder for folder in held_out if split_word(folder) == first]
    for half, candidates in (("training", training), ("validation", held_out)):
        if len(candidates) > 1:
            raise DataError(f"{', '.join(candidates)}: which is the {half} folder? rename or move the others")
    return training[0], held_out[0]


def _refuse_other_splits(parts: Parts) -> None:
    """No folder that is taken for a class, or lies inside one, may look like a split: it would train on test images."""
    for name, part in parts.items():
        for folder in part[:-1]:
            if split_word(folder):
                raise DataError(
                    f"{name}: folder {folder} looks like a split, but only a training and a validation folder beside "
                    "each other are one; rename it, or set data.splits = share, which takes no folder for a split"
                )


def _by_folders(below: Parts, halves: tuple[str, str], labels: bool) -> _Split:
    train, validation = (
        {name: part[1:] for name, part in below.items() if len(part) > 1 and part[0] == half} for half in halves
    )
    left_out = {NEITHER_HALF: sorted(below.keys() - train.keys() - validation.keys())}
    if not labels:
        return _Split(list(train), list(validation), dict.fromkeys([*train, *validation], ONE_CLASS), left_out)
    class_of = _class_of(train)
    left_out[NO_FOLDER] = [name for name in train if name not in class_of]
    of_validation = _class_of(validation, known=set(class_of.values()))
    return _Split(list(class_of), list(validation), class_of | of_validation, left_out)


def _by_share(parts: Parts, share: float, seed: int, labels: bool) -> _Split:
    class_of = _class_of(parts) if labels else dict.fromkeys(parts, ONE_CLASS)
    names = list(class_of)
    train, validation = ([names[index] for index in half] for half in by_share(len(names), share, seed))
    return _Split(train, validation, class_of, {NO_FOLDER: [name for name in parts if name not in class_of]})


def _class_of(parts: Parts, known: Collection[str] = ()) -> dict[str, str]:
    """Class of each image, sorted by name, without those beside the folders of classes; `known` are classes already."""
    if _of_thousands(parts.values()):
        return dict.fromkeys(parts, ONE_CLASS)
    holding = _holding(parts)
    depth = next((index for index, folder in enumerate(holding) if folder in known), len(holding))
    if all(len(part) == depth + 1 for part in parts.values()):
        return dict.fromkeys(parts, holding[-1] if holding else ONE_CLASS)
    return {name: part[depth] for name, part in parts.items() if len(part) > depth + 1}


def _of_thousands(parts: Collection[tuple[str, ...]]) -> bool:
    """Whether the folder of each image is the thousand of the image's own number."""
    return bool(parts) and all(THOUSAND.fullmatch("/".join(part[-2:])) for part in parts)


def _remarks(parts: Parts, split: _Split, classes: list[str]) -> Iterator[str]:
    known = set(classes)
    unknown = [name for name in split.validation if split.class_of.get(name) not in known]
    if unknown:
        yield f"{len(unknown)} validation images are of no class of the training images and have no label: {unknown[0]}"
    nested = [name for name, folder in split.class_of.items() if folder in parts[name][:-2]]
    if nested:
        class_ = split.class_of[nested[0]]
        yield f"{len(nested)} images lie deeper than in their class's folder: {nested[0]} is of class {class_}"
    if classes == [ONE_CLASS] and _of_thousands([parts[name] for name in split.class_of]):
        yield f"folders of a thousand photos, as FFHQ's {split.train[0]}, are no classes: all images are of one"
    for several in _alike(classes):
        yield f"{', '.join(several)} are {len(several)} classes, though their names differ by case alone"


def _alike(classes: list[str]) -> list[list[str]]:
    """Those that differ by case alone."""
    by_name: dict[str, list[str]] = {}
    for name in classes:
        by_name.setdefault(name.casefold(), []).append(name)
    return [several for several in by_name.values() if len(several) > 1]
