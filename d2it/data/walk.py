"""All files below a folder, as the reader of images and the manifest of data both see them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from d2it.data.imageset import DataError, printable


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What is no folder below `root`, links followed: its name relative to `root`, with forward slashes, and its entry.

    In no order. A link to a folder that holds it is left out. In strings, because a million files are few here.

    Raises:
        DataError: a folder cannot be listed.
    """
    yield from _walk(str(root), "", frozenset())


def is_kind(kind: Callable[[], bool]) -> bool:
    """`kind` of an entry, such as its `is_file`; False where a link leads to itself."""
    try:
        return kind()
    except OSError:
        return False


def _walk(folder: str, name: str, above: frozenset[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_kind(entry.is_dir):
                    yield from _walk(entry.path, f"{name}{entry.name}/", above | {real})
                else:
                    yield name + entry.name, entry
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be listed: {error.strerror}") from None
