"""A set of images of one size that can be read one at a time: what every source of images is turned into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2it.errors import UserError
from d2it.size import Size


class DataError(UserError):
    """Images that cannot be used; the message is one line: which source or file, what is wrong, what to do."""


class UnreadableError(DataError):
    """One image that cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        """`reason`: one line."""
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


class Cropped(NamedTuple):
    """One image at the training size."""

    pixels: NDArray[np.uint8]  # (H, W, 3), RGB
    enlarged: bool  # the original was smaller, in height or in width


@dataclass(frozen=True)
class ImageSet:
    """Training or validation images, in a fixed order."""

    size: Size  # pixels
    labels: NDArray[np.int64]  # (N,), class of each image; -1 where it has none
    read: Callable[[int], Cropped]  # image by index 0..N-1; safe to call from many threads; raises UnreadableError
    names: Sequence[str] = ()  # of the files (N,), where images are files

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """A data set, before anything is written."""

    train: ImageSet
    validation: ImageSet
    classes: list[str]  # name of each label; empty when there are no classes
    left_out: dict[str, list[str]] = field(default_factory=dict)  # names of files that are in neither half, by reason


def printable(text: str) -> str:
    """In one line, whatever characters file names hold."""
    return text if text.isprintable() else ascii(text)[1:-1]
