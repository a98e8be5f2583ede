"""A folder and a zip of the same images are the same data set, and bad ones are refused in one line."""

import csv
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2it.data.files import open_files
from d2it.data.imageset import DataError, Source
from d2it.data.sources import open_crops, open_images, without_labels
from d2it.data.write import Allowed, Written
from d2it.size import Size
from tests.data.written import write_source

SIZE = Size.of(16)


def measure(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), 2, 8, 2, 8, 3).mean((2, 4, 5)).astype(np.float32)


def write(source: Source, out: Path, threads: int | None = None) -> Written:
    return write_source(source, out, 8, measure, threads=threads)


def photo(number: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def files(names: list[str]) -> dict[str, bytes]:
    return {name: photo(number) for number, name in enumerate(names)}


def as_folder(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def as_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in reversed(content.items()):
            archive.writestr(name, data)
    return path


def as_tar(path: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in reversed(content.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


LAYOUTS = [
    ["1.png", "2.png", "3.png"],
    ["cat/1.png", "dog/1.png", "dog/2.PNG"],
    ["set/train/cat/1.png", "set/train/dog/2.png", "set/val/dog/3.png", "set/test/cat/4.png"],
]


@pytest.mark.parametrize("names", LAYOUTS)
@pytest.mark.parametrize("make", [as_zip, as_tar])
def test_an_archive_equals_a_folder(tmp_path: Path, names: list[str], make) -> None:
    content = files(names)
    folder = open_images(as_folder(tmp_path / "a", content), SIZE, 0.3, 0)
    archive = open_images(make(tmp_path / "archive", content), SIZE, 0.3, 0)
    assert folder.classes == archive.classes
    assert write(folder, tmp_path / "x") == write(archive, tmp_path / "y")


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path, threads: int) -> None:
    path = as_zip(tmp_path / "a.zip", files([f"{i % 3}/{i:03d}.png" for i in range(100)]))
    for out, count in (("x", 3), ("y", threads)):
        write(open_images(path, SIZE, 0.2, 0), tmp_path / out, count)
    names_of_shards = sorted(path.relative_to(tmp_path / "x") for path in (tmp_path / "x").rglob("*.npy"))
    assert len(names_of_shards) == 6
    for name in names_of_shards:
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_images_are_written_in_the_order_of_their_names_with_their_labels(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", files([f"{'ab'[i % 2]}/{i:02d}.png" for i in range(40)]))
    source = open_images(path, SIZE, 0, 0)
    write(source, tmp_path / "out")
    pixels = np.load(tmp_path / "out/train/images-00000.npy", allow_pickle=False)
    labels = np.load(tmp_path / "out/train/labels-00000.npy", allow_pickle=False)
    entropy = np.load(tmp_path / "out/train/entropy-00000.npy", allow_pickle=False)
    assert labels.tolist() == [0] * 20 + [1] * 20
    for row in range(40):
        np.testing.assert_array_equal(pixels[row], source.train.read(row).pixels)
    np.testing.assert_array_equal(entropy, measure(pixels))


def test_fingerprint_sees_one_pixel_one_label_and_the_split(tmp_path: Path) -> None:
    content = files(["a/1.png", "a/2.png", "b/3.png", "b/4.png"])
    relabelled = dict(zip(["a/1.png", "b/2.png", "b/3.png", "b/4.png"], content.values(), strict=True))
    repainted = content | {"a/1.png": photo(99)}
    prints = set()
    for number, (files_, seed) in enumerate([(content, 0), (relabelled, 0), (repainted, 0), (content, 1)]):
        source = open_images(as_folder(tmp_path / str(number), files_), SIZE, 0.25, seed)
        prints.add(write(source, tmp_path / "out" / str(number)).fingerprint)
    assert len(prints) == 4


def test_hidden_and_other_files_are_ignored_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    junk = [".DS_Store", "a/.hidden.png", "__MACOSX/a/1.png", "a/notes.txt", ".git/x.png"]
    content = files(["a/1.png", "a/2.jpeg"]) | dict.fromkeys(junk, b"junk")
    for path in (as_folder(tmp_path / "a", content), as_zip(tmp_path / "a.zip", content)):
        caplog.clear()
        source = open_images(path, SIZE, 0, 0)
        assert len(source.train) == 2
        lines = [record.getMessage() for record in caplog.records]
        assert [
            line.count("4 files left out, hidden") or line.count("1 files left out, no images") for line in lines
        ] == [1, 1]
        assert "a/notes.txt" in caplog.text


def test_a_link_to_the_folder_above_ends_and_a_linked_folder_counts(tmp_path: Path) -> None:
    as_folder(tmp_path / "elsewhere", files(["1.png"]))
    path = as_folder(tmp_path / "a", files(["b/1.png"]))
    (path / "b" / "up").symlink_to(path)
    (path / "c").symlink_to(tmp_path / "elsewhere")
    assert open_files(path).names == ["b/1.png", "c/1.png"]


def test_smaller_images_are_enlarged_and_counted(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", files(["1.png", "2.png"]))
    assert write(open_images(path, SIZE, 0, 0), tmp_path / "x").enlarged == 0
    large = open_images(path, SIZE.times(2), 0.5, 0)
    assert write_source(large, tmp_path / "y", 16, lambda images: measure(images[:, ::2, ::2])).enlarged == 2


def test_a_validation_class_without_a_training_image_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = as_folder(tmp_path / "a", files(["train/dog/1.png", "val/cat/2.png"]))
    source = open_images(path, SIZE, 0, 0)
    assert source.classes == ["dog"]
    assert (source.train.labels.tolist(), source.validation.labels.tolist()) == ([0], [-1])
    assert "val/cat/2.png" in caplog.text


def test_without_labels_there_is_no_class_and_the_pixels_stay(tmp_path: Path) -> None:
    source = open_images(as_folder(tmp_path / "a", files(["a/1.png", "b/2.png"])), SIZE, 0, 0)
    bare = without_labels(source)
    assert bare.classes == []
    assert bare.train.labels.tolist() == [0, 0]
    np.testing.assert_array_equal(bare.train.read(1).pixels, source.train.read(1).pixels)


def test_demo_is_seeded(tmp_path: Path) -> None:
    prints = [write(open_crops(SIZE, 40, 16, seed), tmp_path / f"{i}").fingerprint for i, seed in enumerate([0, 0, 1])]
    assert prints[0] == prints[1] != prints[2]


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("make", [as_folder, as_zip, as_tar])
def test_all_damaged_images_are_named_and_nothing_is_left(tmp_path: Path, make) -> None:
    content = files([f"a/{i:03d}.png" for i in range(53)])
    content |= {"a/030.png": content["a/030.png"][:80], "a/040.png": b"junk", "a/050.png": b""}
    source = open_images(make(tmp_path / "a.zip", content), SIZE, 0, 0)
    with pytest.raises(DataError) as error:
        write(source, tmp_path / "out", 4)
    assert "3 of 53 images" in one_line(error)
    assert "data.damaged" in str(error.value)
    assert all(name in str(error.value) for name in ("a/030.png", "a/040.png", "a/050.png"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_damaged_images_up_to_a_share_are_left_out_and_all_are_in_a_table(tmp_path: Path, share: float) -> None:
    good = files([f"{'ab'[i % 2]}/{i:03d}.png" for i in range(40)])
    bad = {f"a/x{i:02d}.png": b"junk" for i in range(10)}
    expected = write(open_images(as_folder(tmp_path / "good", good), SIZE, 0, 0), tmp_path / "expected")
    source = open_images(as_folder(tmp_path / "mixed", good | bad), SIZE, 0, 0)
    table = tmp_path / "damaged.csv"
    allowed = Allowed(share, table)
    if share < 0.2:
        with pytest.raises(DataError, match="10 of 50"):
            write_source(source, tmp_path / "out", 8, measure, allowed=allowed)
    else:
        written = write_source(source, tmp_path / "out", 8, measure, allowed=allowed)
        assert written == replace(expected, damaged=10)
        for shard in (tmp_path / "expected").rglob("*.npy"):
            assert shard.read_bytes() == (tmp_path / "out" / shard.relative_to(tmp_path / "expected")).read_bytes()
    with table.open(newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == sorted(bad)


def test_a_class_that_loses_all_its_training_images_stops(tmp_path: Path) -> None:
    source = open_images(as_folder(tmp_path / "a", files(["a/1.png", "a/2.png"]) | {"b/3.png": b"junk"}), SIZE, 0, 0)
    with pytest.raises(DataError, match="class b: none of its training images"):
        write_source(source, tmp_path / "out", 8, measure, allowed=Allowed(1.0))


def test_damaged_zip_entry_is_named(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "a.zip", files(["1.png"]))
    raw = bytearray(path.read_bytes())
    raw[60:70] = bytes(10)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"1\.png") as error:
        write(open_images(path, SIZE, 0, 0), tmp_path / "out")
    one_line(error)


@pytest.mark.parametrize(
    ("content", "share", "what"),
    [
        ({}, 0.0, "no image"),
        ({"a.txt": b"x"}, 0.0, "no image"),
        ({"1.png": b"x"}, 0.5, "none left to train on"),
    ],
)
@pytest.mark.parametrize("make", [as_folder, as_zip, as_tar])
def test_source_without_training_images_is_refused(tmp_path: Path, make, content, share: float, what: str) -> None:
    (tmp_path / "a").mkdir()
    path = make(tmp_path / ("a" if make is as_folder else "a.zip"), content)
    with pytest.raises(DataError, match=what) as error:
        open_images(path, SIZE, share, 0)
    one_line(error)


def test_source_that_is_missing_or_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    for path, what in ((tmp_path / "nothing", "no such"), (tmp_path / "a.zip", "neither")):
        with pytest.raises(DataError, match=what) as error:
            open_images(path, SIZE, 0, 0)
        one_line(error)


def test_too_small_a_disk_is_said_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_crops(SIZE, 8, 8, 0)
    full = os.statvfs_result([4096, 4096, 10, 0, 0, 0, 0, 0, 0, 255])
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(DataError, match="free") as error:
        write(source, tmp_path / "out")
    one_line(error)
    assert list((tmp_path / "out").iterdir()) == []
