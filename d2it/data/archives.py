"""Entries of a zip or tar, read in place by any number of threads."""

import os
import posixpath
import tarfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The files in an archive."""

    sizes: dict[str, int]  # bytes of each file, by its name with forward slashes
    replaced: list[str]  # names that came once more; the last counts, as for all readers of archives
    read: Callable[[str, int], bytes]  # at most so many first bytes of a named file
    lost: Sequence[str] = ()  # links of a tar to what is no file of it
    no_files: Sequence[str] = ()  # pipes and devices of a tar


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

    sizes = {name: info.file_size for name, info in entries.items()}
    return Entries(sizes=sizes, replaced=replaced, read=read)


class _Span(NamedTuple):
    tar: int  # number of the file
    start: int
    size: int


def tar_entries(path: Path) -> Entries:
    """Of a tar that is not compressed, and of the tars in it. Links are the files that they lead to.

    Raises:
        tarfile.TarError, OSError: it is none, is compressed, or cannot be read.
    """
    return tars_entries({"": path})


def tars_entries(tars: Mapping[str, Path]) -> Entries:
    """Of several tars, each of which is the folder of its key, '' or 'name/'; else as `tar_entries`.

    A thread keeps one of them open, the last that it has read: a process may open a thousand files, and a data set has
    more tars.
    """
    listing = _Listing()
    for number, (folder, path) in enumerate(tars.items()):
        try:
            with tarfile.open(path, "r:") as archive:
                _list(archive, listing, folder, _Span(number, 0, 0))
        except tarfile.TarError as error:
            raise tarfile.ReadError(f"{path.name}: {error}") from None
    lost = listing.follow_links()
    spans, paths, opened = listing.spans, list(tars.values()), threading.local()

    def read(name: str, size: int) -> bytes:
        tar, start, whole = spans[name]
        if getattr(opened, "tar", None) != tar:
            opened.file, opened.tar = paths[tar].open("rb", buffering=0), tar
        content = os.pread(opened.file.fileno(), min(size, whole), start)
        if len(content) < min(size, whole):
            raise ValueError("cut short")
        return content

    sizes = {name: span.size for name, span in spans.items()}
    return Entries(sizes=sizes, replaced=listing.replaced, read=read, lost=lost, no_files=listing.no_files)


@dataclass
class _Listing:
    spans: dict[str, _Span] = field(default_factory=dict)  # place of each file
    links: dict[str, str] = field(default_factory=dict)  # what each leads to
    replaced: list[str] = field(default_factory=list)
    no_files: list[str] = field(default_factory=list)

    def add(self, name: str, span: _Span) -> None:
        self._replace(name)
        self.spans[name] = span

    def add_link(self, name: str, target: str) -> None:
        if name != target:  # as tar writes a file that it was given twice
            self._replace(name)
            self.links[name] = target

    def _replace(self, name: str) -> None:
        if self.spans.pop(name, None) or self.links.pop(name, None):
            self.replaced.append(name)

    def follow_links(self) -> list[str]:
        """Give each link the place of its file; returns those that lead to none."""
        lost = []
        for name, target in self.links.items():
            seen = {name}
            while target in self.links and target not in seen:
                seen.add(target)
                target = self.links[target]
            if target in self.spans:
                self.spans[name] = self.spans[target]
            else:
                lost.append(name)
        return lost


def _list(archive: tarfile.TarFile, listing: _Listing, folder: str, place: _Span) -> None:
    """Add the members of a tar that begins at `place`, and whose files lie in `folder`."""
    while member := archive.next():
        archive.members.clear()  # type: ignore[attr-defined] # else all stay in memory, a kilobyte each
        name, start = folder + _name(member.name), place.start + member.offset_data
        if member.isfile() and name.endswith(".tar"):
            with tarfile.open(fileobj=archive.extractfile(member), mode="r:") as nested:
                _list(nested, listing, f"{name.removesuffix('.tar')}/", place._replace(start=start))
        elif member.isfile():
            listing.add(name, _Span(place.tar, start, member.size))
        elif member.islnk():
            listing.add_link(name, folder + _name(member.linkname))
        elif member.issym():
            listing.add_link(name, posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
        elif not member.isdir():
            listing.no_files.append(name)


def _name(name: str) -> str:
    """As this project writes it; some archivers of Windows have other slashes, tar begins with './' where asked to."""
    return name.replace("\\", "/").removeprefix("./").lstrip("/")
