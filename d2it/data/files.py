"""The image files of a folder or of a zip, by name; a zip is read in place."""

import os
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from d2it.data.imageset import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
MAX_FILE_BYTES = 1 << 29


@dataclass(frozen=True)
class ImageFiles:
    """What a folder or zip holds."""

    names: list[str]  # sorted, relative to the folder or zip, with forward slashes
    ignored: int  # number of other files: hidden, of another type, or made by a file manager
    read: Callable[[str], bytes]  # content of a named file; safe to call from many threads


def open_files(path: Path) -> ImageFiles:
    """List the images below a folder, or in a zip.

    Raises:
        DataError: neither a folder nor a zip.
    """
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise DataError(f"data.source = {path}: no such folder or zip")
    try:
        return _zip(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"data.source = {path}: neither a folder nor a readable zip ({error})") from None


def _is_image(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in SUFFIXES


def _image_files(names: set[str], read: Callable[[str], bytes]) -> ImageFiles:
    images = sorted(filter(_is_image, names))
    return ImageFiles(images, len(names) - len(images), read)


def _folder(root: Path) -> ImageFiles:
    names: set[str] = set()

    def walk(folder: Path, above: frozenset[str]) -> None:
        real = os.path.realpath(folder)
        if real in above:  # a link to a folder that holds it
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    walk(folder / entry.name, above | {real})
                else:
                    names.add((folder / entry.name).relative_to(root).as_posix())

    def read(name: str) -> bytes:
        with (root / name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return content

    walk(root, frozenset())
    return _image_files(names, read)


def _zip(path: Path) -> ImageFiles:
    archive = zipfile.ZipFile(path)
    lock = threading.Lock()

    def read(name: str) -> bytes:
        if archive.getinfo(name).file_size > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        with lock:  # opening and closing change a shared count; reading in between has a lock of its own
            file = archive.open(name)
        try:
            return file.read()
        finally:
            with lock:
                file.close()

    return _image_files({info.filename for info in archive.infolist() if not info.is_dir()}, read)
