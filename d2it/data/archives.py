"""Entries of a zip or tar, read in place by any number of threads."""

import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True)
class Entries:
    """The files in an archive."""

    sizes: dict[str, int]  # bytes of each file, by its name with forward slashes
    replaced: list[str]  # names that came once more; the last counts, as for all readers of archives
    read: Callable[[str, int], bytes]  # at most so many first bytes of a named file


def zip_entries(path: Path) -> Entries:
    """Of a zip.

    Raises:
        zipfile.BadZipFile, OSError: it is none, or cannot be read.
    """
    archive = zipfile.ZipFile(path)
    lock = threading.Lock()
    entries: dict[str, zipfile.ZipInfo] = {}
    replaced = []
    for info in archive.infolist():
        name = _name(info.filename)
        if not name.endswith("/"):
            replaced += [name] if name in entries else []
            entries[name] = info

    def read(name: str, size: int) -> bytes:
        with lock:  # opening and closing change a shared count; reading in between has a lock of its own
            file = archive.open(entries[name])
        try:
            return file.read(size)
        finally:
            with lock:
                file.close()

    return Entries({name: info.file_size for name, info in entries.items()}, replaced, read)


class _Span(NamedTuple):
    start: int
    size: int


def tar_entries(path: Path) -> Entries:
    """Of a tar that is not compressed, and of the tars in it.

    Raises:
        tarfile.TarError, OSError: it is none, is compressed, or cannot be read.
    """
    spans: dict[str, _Span] = {}
    replaced = []
    with tarfile.open(path, "r:") as archive:
        for name, span in _spans(archive, "", 0):
            replaced += [name] if name in spans else []
            spans[name] = span
    file = path.open("rb")

    def read(name: str, size: int) -> bytes:
        start, whole = spans[name]
        content = os.pread(file.fileno(), min(size, whole), start)
        if len(content) < min(size, whole):
            raise ValueError("cut short")
        return content

    return Entries({name: size for name, (_, size) in spans.items()}, replaced, read)


def _spans(archive: tarfile.TarFile, folder: str, start: int) -> Iterator[tuple[str, _Span]]:
    """Name and place of each file; `archive` begins at byte `start`, and its files lie in `folder`."""
    for member in archive:
        if not member.isfile():
            continue
        name, inner = folder + _name(member.name), archive.extractfile(member)
        if name.endswith(".tar") and inner is not None:
            with tarfile.open(fileobj=inner, mode="r:") as nested:
                yield from _spans(nested, f"{name.removesuffix('.tar')}/", start + member.offset_data)
        else:
            yield name, _Span(start + member.offset_data, member.size)


def _name(name: str) -> str:
    """As this project writes it; some archivers of Windows have other slashes, tar begins with './' where asked to."""
    return name.replace("\\", "/").removeprefix("./").lstrip("/")
