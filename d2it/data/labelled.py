"""Images whose class and half something else than their folders names: a column, a list, a small file beside each.

The rules are those of layout.py, with three differences. The half is the word of a split in the name of the file or the
folder that holds the image, however many other words that name has. Classes keep the order that the data set gives
them, not that of their names, so that class 207 is what everybody calls class 207 wherever each class has a training
image. And a training image without a class, beside others that have one, is left out.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2it.data.imageset import DataError
from d2it.data.layout import HELD_OUT, NEITHER_HALF, NO_LABEL, ONE_CLASS, TRAINING, Half, Layout, by_share

WITHOUT_CLASS = "without a class"  # reason

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """What a user may choose; see `read_layout`."""

    share: float
    seed: int
    splits: bool = True
    labels: bool = True


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A data set, as its own format has it."""

    names: list[str]  # (N,), in the data set's order
    halves: Sequence[str]  # (N,), a word of TRAINING or HELD_OUT; empty where there is none
    labels: Rows  # (N,), NO_LABEL where there is none
    classes: list[str]  # name of each label


@functools.cache  # a million images lie in few files
def half_of(path: str) -> str:
    """Word of a split in a path, from its end: 'data/train-00000-of-00002' -> 'train', 'val/000' -> 'val', 'a' -> ''.

    A part of the path with several such words names none.
    """
    for part in reversed(path.split("/")):
        words = {word for word in re.findall("[a-z]+", part.lower()) if word in TRAINING + HELD_OUT}
        if len(words) == 1:
            return str(*words)
    return ""


def by_number(numbers: Rows) -> tuple[Rows, list[str]]:
    """Labels and classes of images whose classes are known by any numbers (N,), NO_LABEL where there is none."""
    present, labels = np.unique(np.append(numbers, NO_LABEL), return_inverse=True)
    return labels[:-1].astype(np.int64) - 1, [str(number) for number in present[1:]]


def lay_out(images: Labelled, rules: Rules, remarks: Sequence[str] = ()) -> Layout:
    """Halves and labels of a data set.

    Raises:
        DataError: its files look like splits and cannot be taken for them.
    """
    labels, classes = images.labels, _distinct(images.classes)
    if not rules.labels or not (labels >= 0).any():
        labels, classes = np.zeros(len(labels), np.int64), [ONE_CLASS]
    halves = np.array(images.halves, np.str_)
    words = _halves(set(images.halves)) if rules.splits else None
    if words:
        train, validation = (np.flatnonzero(np.isin(halves, list(of_half))) for of_half in words)
        without = train[labels[train] < 0]
        train = train[labels[train] >= 0]
    else:
        without, known = np.flatnonzero(labels < 0), np.flatnonzero(labels >= 0)
        train, validation = (known[half] for half in by_share(len(known), rules.share, rules.seed))
    neither = np.setdiff1d(np.arange(len(labels)), np.concatenate([train, validation, without]))
    present = np.unique(labels[train])
    number = np.full(len(classes) + 1, NO_LABEL, np.int64)  # the last is that of NO_LABEL, -1
    number[present] = np.arange(len(present))

    def named(rows: Rows) -> list[str]:
        return [images.names[row] for row in rows]

    left_out = {NEITHER_HALF: named(neither), WITHOUT_CLASS: named(without)}
    unknown = validation[number[labels[validation]] < 0]
    if len(unknown):
        first = images.names[unknown[0]]
        remarks = [*remarks, f"{len(unknown)} validation images are of no class of the training images: {first}"]
    return Layout(
        train=Half(named(train), number[labels[train]].tolist()),
        validation=Half(named(validation), number[labels[validation]].tolist()),
        classes=[classes[label] for label in present],
        left_out={reason: names for reason, names in left_out.items() if names}, remarks=list(remarks),
    )  # fmt: skip


def _halves(words: set[str]) -> tuple[set[str], set[str]] | None:
    """Words of the training half and of the validation half, where there are both."""
    training, held_out = words & set(TRAINING), [word for word in HELD_OUT if word in words]
    if training and held_out:
        return training, {held_out[0]}
    if len(words) > 1:
        seen = ", ".join(sorted(words - {""}))
        raise DataError(
            f"files of the splits {seen} need a training and a validation split beside each other; "
            "bring or remove files, or set data.splits = share, which takes no file for a split"
        )
    return None


def _distinct(classes: Sequence[str]) -> list[str]:
    """Different names: ImageNet has two classes `crane` and two `maillot`."""
    twice = {name for name in classes if classes.count(name) > 1} if len(set(classes)) < len(classes) else set()
    return [f"{name} ({number})" if name in twice else name for number, name in enumerate(classes)]
