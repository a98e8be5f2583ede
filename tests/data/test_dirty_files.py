"""Whatever lies in a folder or an archive: an image is read, all else is left out with a name, and nothing hangs."""

import gzip
import io
import os
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from d2it.data.files import HIDDEN, LOST, OTHER, REPLACED, open_files
from d2it.data.imageset import DataError, UnreadableError
from d2it.data.sources import open_images
from tests.data.test_sources import SIZE, as_folder, as_tar, files, photo, write


def encoded(format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(photo(0))).save(file, format_, **options)
    return file.getvalue()


def long_text() -> PngInfo:
    info = PngInfo()
    info.add_text("comment", "x" * 3_000_000, zip=True)
    return info


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.jpg", encoded("JPEG")), ("1.JPE", encoded("JPEG")), ("1.jfif", encoded("JPEG")), ("1.png", encoded("PNG")),
        ("1.webp", encoded("WEBP")), ("1.bmp", encoded("BMP")), ("1.gif", encoded("GIF")), ("1.tif", encoded("TIFF")),
        ("1.tiff", encoded("TIFF")), ("1.avif", encoded("AVIF")), ("1.png", encoded("JPEG")),
        ("no suffix", encoded("JPEG")),
        ("n01", encoded("PNG")), ("n02", encoded("GIF")), ("n03", encoded("BMP")), ("n04", encoded("TIFF")),
        ("n05", encoded("WEBP")), ("n06", encoded("AVIF")), ("long text.png", encoded("PNG", pnginfo=long_text())),
        ("long profile.png", encoded("PNG", icc_profile=b"\0" * 3_000_000)), ("two\nlines.png", encoded("PNG")),
        ("\N{CJK UNIFIED IDEOGRAPH-732B}.png", encoded("PNG")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_an_image_of_any_type_is_read_by_what_it_holds(tmp_path: Path, name: str, content: bytes, zipped: bool) -> None:
    path = tmp_path / "data"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"class/{name}", content)
    else:
        as_folder(path, {f"class/{name}": content})
    source = open_images(path, SIZE, 0, 0)
    assert source.classes == ["class"]
    assert source.train.read(0).pixels.shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", b"text", OTHER), ("README", b"text", OTHER), ("empty", b"", OTHER), ("x.jpg.part", b"", OTHER),
        (".hidden.jpg", encoded("JPEG"), HIDDEN), ("__MACOSX/1.jpg", encoded("JPEG"), HIDDEN),
        (".git/1.jpg", encoded("JPEG"), HIDDEN), ("Thumbs.db", b"", OTHER),
    ],
)  # fmt: skip
def test_what_is_no_image_is_left_out_by_name(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    files = open_files(as_folder(tmp_path / "a", {"1.png": photo(0), name: content}))
    assert (files.names, files.left_out) == (["1.png"], {reason: [name]})


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # the address of a socket is short


@pytest.mark.parametrize("make", [pipe, unix_socket])
def test_a_pipe_or_a_socket_is_left_out_and_read_by_nobody(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = as_folder(tmp_path / "a", {"1.png": photo(0)})
    make(path / "2.png")
    files = open_files(path)
    assert (files.names, files.left_out) == (["1.png"], {OTHER: ["2.png"]})


def itself(path: Path) -> None:
    path.symlink_to(path)


def nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def folder(path: Path) -> None:
    path.mkdir()
    (path / "up").symlink_to(path.parent)


@pytest.mark.parametrize(("make", "reason"), [(itself, "symbolic links"), (nowhere, "leads nowhere")])
def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    path = as_folder(tmp_path / "a", {"1.png": photo(0)})
    make(path / "2.png")
    source = open_images(path, SIZE, 0, 0)
    with pytest.raises(UnreadableError, match=reason) as error:
        source.train.read(1)
    assert error.value.name == "2.png"


def test_a_folder_that_looks_like_an_image_is_a_folder(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", {"1.png": photo(0)})
    folder(path / "2.png")
    assert open_files(path).names == ["1.png"]


def test_a_folder_that_cannot_be_listed_stops_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_folder(tmp_path / "a", {"b/1.png": photo(0), "c/2.png": photo(1)})
    scandir = os.scandir

    def refuse(folder: str) -> object:  # what root, as whom tests may run, never sees
        if Path(folder).name == "c":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="a/c: cannot be listed: Permission denied") as error:
        open_images(path, SIZE, 0, 0)
    assert "\n" not in str(error.value)


def test_a_name_that_is_not_utf8_stops_before_anything_is_decoded(tmp_path: Path) -> None:
    folder = tmp_path / "a" / os.fsdecode(b"caf\xe9")
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(photo(0))
    with pytest.raises(DataError, match=r"caf\\udce9/1.png: the name is not UTF-8") as error:
        open_images(tmp_path / "a", SIZE, 0, 0)
    str(error.value).encode()


def test_entries_of_windows_archivers_have_folders_and_the_last_of_one_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train\\cat\\1.png", photo(0))
        archive.writestr("train\\dog\\2.png", photo(1))
        archive.writestr("val\\dog\\3.png", photo(2))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("val\\dog\\3.png", photo(3))
    files = open_files(path)
    assert files.names == ["train/cat/1.png", "train/dog/2.png", "val/dog/3.png"]
    assert files.left_out == {REPLACED: ["val/dog/3.png"]}
    assert files.read("val/dog/3.png") == photo(3)
    source = open_images(path, SIZE, 0, 0)
    assert (source.classes, len(source.train), len(source.validation)) == (["cat", "dog"], 2, 1)


def test_an_encrypted_entry_is_one_line_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", photo(0))
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="encrypted: unzip it with its password"):
        open_images(path, SIZE, 0, 0).train.read(0)


def test_a_file_that_this_user_may_not_read_is_one_line_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_folder(tmp_path / "a", {"1.png": photo(0)})
    source = open_images(path, SIZE, 0, 0)

    def refuse(*_: object) -> None:  # what root, as whom tests may run, never sees
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableError, match="chmod"):
        source.train.read(0)


def test_pixels_of_the_same_picture_are_the_same_in_every_lossless_format(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", {f"1.{kind}": encoded(kind) for kind in ("png", "bmp", "tiff")})
    train = open_images(path, SIZE, 0, 0).train
    first = train.read(0).pixels
    assert all(np.array_equal(train.read(index).pixels, first) for index in (1, 2))


def test_tars_in_a_tar_are_folders(tmp_path: Path) -> None:
    """ImageNet's training set as downloaded."""
    content = files(["n01/1.JPEG", "n01/2.JPEG", "n02/3.JPEG"])
    inner = {}
    for folder in ("n01", "n02"):
        own = {name.partition("/")[2]: data for name, data in content.items() if name.startswith(folder)}
        inner[f"{folder}.tar"] = as_tar(tmp_path / "inner", own).read_bytes()
    listed = open_files(as_tar(tmp_path / "ILSVRC2012_img_train.tar", inner))
    assert listed.names == list(content)
    assert {name: listed.read(name) for name in content} == content


def test_a_tar_that_is_compressed_or_cut_short_is_one_line(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "a.tar", files(["1.png", "2.png"]))
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match="neither a folder nor a readable zip or tar"):
        open_images(tmp_path / "b.tar.gz", SIZE, 0, 0)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError) as error:
        write(open_images(path, SIZE, 0, 0), tmp_path / "out")
    assert "\n" not in str(error.value)


def with_members(path: Path, members: list[tuple[str, bytes, str]]) -> Path:
    """A tar of members with name, type, and what they lead to."""
    with tarfile.open(path, "w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            data = photo(0) if kind == tarfile.REGTYPE else b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_links_in_a_tar_are_the_files_that_they_lead_to(tmp_path: Path) -> None:
    members = [
        ("./set/a/1.png", tarfile.REGTYPE, ""),
        ("./set/a/2.png", tarfile.LNKTYPE, "./set/a/1.png"),
        ("set/b/3.png", tarfile.SYMTYPE, "../a/1.png"),
        ("set/b/4.png", tarfile.SYMTYPE, "3.png"),
        ("set/b/5.png", tarfile.SYMTYPE, "./../../set/b/4.png"),
        ("set/a/1.png", tarfile.LNKTYPE, "set/a/1.png"),  # given twice
    ]
    files = open_files(with_members(tmp_path / "a.tar", members))
    assert files.names == ["set/a/1.png", "set/a/2.png", "set/b/3.png", "set/b/4.png", "set/b/5.png"]
    assert {files.read(name) for name in files.names} == {photo(0)}
    assert files.left_out == {}


def test_what_leads_nowhere_in_a_tar_is_left_out_and_counted(tmp_path: Path) -> None:
    members = [
        ("a/1.png", tarfile.REGTYPE, ""),
        ("a/2.png", tarfile.SYMTYPE, "/etc/passwd"),
        ("a/3.png", tarfile.SYMTYPE, "../../1.png"),
        ("a/4.png", tarfile.SYMTYPE, "5.png"),
        ("a/5.png", tarfile.SYMTYPE, "4.png"),
        ("a/6.png", tarfile.LNKTYPE, "a/nothing.png"),
        ("b", tarfile.SYMTYPE, "a"),
        ("a/7.png", tarfile.FIFOTYPE, ""),
        ("a/8.png", tarfile.REGTYPE, ""),
        ("a/8.png", tarfile.SYMTYPE, "1.png"),
    ]
    files = open_files(with_members(tmp_path / "a.tar", members))
    assert files.names == ["a/1.png", "a/8.png"]
    assert files.left_out == {
        REPLACED: ["a/8.png"],
        LOST: ["a/2.png", "a/3.png", "a/4.png", "a/5.png", "a/6.png", "b"],
        OTHER: ["a/7.png"],
    }


def test_links_in_a_tar_in_a_tar_start_at_that_tar(tmp_path: Path) -> None:
    members = [("1.png", tarfile.REGTYPE, ""), ("2.png", tarfile.LNKTYPE, "1.png"), ("3.png", tarfile.SYMTYPE, "1.png")]
    inner = with_members(tmp_path / "inner", members).read_bytes()
    files = open_files(as_tar(tmp_path / "a.tar", {"n01.tar": inner}))
    assert files.names == ["n01/1.png", "n01/2.png", "n01/3.png"]
    assert files.read("n01/2.png") == files.read("n01/3.png") == photo(0)
