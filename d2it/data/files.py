"""The image files of a folder, a zip or a tar, by name; archives are read in place."""

import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from d2it.data.archives import Entries, tar_entries, tars_entries, zip_entries
from d2it.data.imageset import DataError, printable
from d2it.data.walk import is_kind, walk

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
MAX_FILE_BYTES = 1 << 29
HEAD_BYTES = 12  # in which a file without suffix shows what it is
HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
HIDDEN, OTHER, REPLACED = "hidden", "no images", "replaced by a later entry of the same name"  # reasons
LOST = "links that lead to no file of the archive"


@dataclass(frozen=True)
class ImageFiles:
    """What a folder or an archive holds."""

    names: list[str]  # of images, sorted, relative to it, with forward slashes
    left_out: dict[str, list[str]]  # names of all else, by reason
    read: Callable[[str], bytes]  # content of a named file; safe to call from many threads


def open_files(path: Path) -> ImageFiles:
    """List the images below a folder, or in a zip or tar: by suffix, and those without one by their first bytes.

    Links are followed. What leads nowhere is listed, so that reading it fails and is reported. A tar in a tar is the
    folder of its name, as in ImageNet's `ILSVRC2012_img_train.tar`.

    Raises:
        DataError: no folder, zip or tar, a folder in it that cannot be listed, or an image's name is not UTF-8.
    """
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise DataError("no such folder, zip or tar")
    try:
        entries = tar_entries(path) if tarfile.is_tarfile(path) else zip_entries(path)
    except (zipfile.BadZipFile, tarfile.TarError, OSError) as error:
        raise DataError(f"neither a folder nor a readable zip or tar ({error})") from None
    return _archive(entries)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is one of those that systems leave behind."""
    return name.startswith(".") or "/." in name or "__MACOSX" in name.split("/")


def open_tars(root: Path, tars: Sequence[str]) -> ImageFiles:
    """List the images in those tars of a folder, as if each tar were the folder of its name.

    Raises:
        DataError: one of them is compressed or damaged, or an image's name is not UTF-8.
    """
    try:
        return _archive(tars_entries({f"{tar.removesuffix('.tar')}/": root / tar for tar in tars}))
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{printable(str(error))}; tars must be whole and not compressed") from None


def _image_files(
    names: list[str], left_out: dict[str, list[str]], head: Callable[[str], bytes], read: Callable[[str], bytes]
) -> ImageFiles:
    images = []
    for name in sorted(names):
        reason = _why_left_out(name, head)
        if reason:
            left_out.setdefault(reason, []).append(name)
            continue
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{printable(name)}: the name is not UTF-8; rename the file or its folder") from None
        images.append(name)
    return ImageFiles(images, left_out, read)


def _why_left_out(name: str, head: Callable[[str], bytes]) -> str:
    """Why a file is no image; empty if it seems to be one."""
    if is_hidden(name):
        return HIDDEN
    _, dot, suffix = name.rpartition("/")[2].rpartition(".")
    if dot:
        return "" if f".{suffix.lower()}" in SUFFIXES else OTHER
    start = head(name)
    known = start.startswith(HEADS) or (start[:4], start[8:12]) == (b"RIFF", b"WEBP") or start[4:11] == b"ftypavi"
    return "" if known else OTHER


def _folder(root: Path) -> ImageFiles:
    def head(name: str) -> bytes:
        try:
            with (root / name).open("rb") as file:
                return file.read(HEAD_BYTES)
        except OSError:
            return b""

    def read(name: str) -> bytes:
        with (root / name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return content

    names: list[str] = []
    no_files: list[str] = []  # pipes, sockets and devices, of which reading one could wait for ever
    for name, entry in walk(root):
        is_file = is_kind(entry.is_file) or (entry.is_symlink() and not Path(entry).exists())
        (names if is_file else no_files).append(name)
    return _image_files(names, {OTHER: no_files} if no_files else {}, head, read)


def _archive(entries: Entries) -> ImageFiles:
    def read(name: str) -> bytes:
        if entries.sizes[name] > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return entries.read(name, entries.sizes[name])

    def head(name: str) -> bytes:
        try:
            return entries.read(name, HEAD_BYTES)
        except Exception:  # encrypted or damaged
            return b""

    left_out = {REPLACED: entries.replaced, LOST: list(entries.lost), OTHER: list(entries.no_files)}
    return _image_files(list(entries.sizes), {reason: names for reason, names in left_out.items() if names}, head, read)
