"""Small files: written whole or not at all, and read with an error in one line."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from d2it.errors import UserError


class UnreadableFileError(UserError):
    """A file that cannot be used; the message says in one line which, what it holds, and what was expected."""


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write; afterwards it takes the place of `path` in one step.

    Args:
        path: the file; its folder is made if need be.
        durable: flush it to the disk first, so that it also survives a power cut.

    Raises:
        OSError: the disk is full, or the folder cannot be written; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        if durable:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UnreadableFileError: the file is missing, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UnreadableFileError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UnreadableFileError(f"{path}: holds {type(content).__name__}: must be a JSON object")
    return content


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A hard link to what a file is in the end; a copy where the file system has no links."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def link_files(files: Iterable[Path], folder: Path) -> None:
    """Link or copy files into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        link_or_copy(file, folder / file.name)
