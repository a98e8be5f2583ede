"""Shards of webdataset: an image and its class are members of one key."""

import json
from pathlib import Path

import pytest

from d2it.data.files import OTHER, REPLACED
from d2it.data.imageset import DataError, Source
from d2it.data.labelled import WITHOUT_CLASS, half_of
from d2it.data.layout import NEITHER_HALF
from d2it.data.sources import open_images
from d2it.data.webdataset import FURTHER, is_shard
from tests.data.test_sources import SIZE, as_folder, as_tar, one_line, photo


def opened(path: Path, share: float = 0.0) -> Source:
    return open_images(path, SIZE, share, 0)


def shard(path: Path, classes: dict[str, str], suffix: str = "cls") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [(f"{key}.jpg", photo(row), f"{key}.{suffix}", text) for row, (key, text) in enumerate(classes.items())]
    return as_tar(
        path, {n: d for image, data, member, text in samples for n, d in ((image, data), (member, text.encode()))}
    )


def test_shards_of_splits_are_the_halves(tmp_path: Path) -> None:
    shard(tmp_path / "imagenet1k-train-000000.tar", {"a": "3", "b": "12"})
    shard(tmp_path / "imagenet1k-train-000001.tar", {"a": "3"})
    shard(tmp_path / "imagenet1k-validation-00.tar", {"a": "12", "b": "7"})
    shard(tmp_path / "imagenet1k-test-00.tar", {"a": "0"})
    source = opened(tmp_path)
    assert source.classes == ["3", "12"]
    assert source.train.labels.tolist() == [0, 1, 0]
    assert source.validation.labels.tolist() == [1, -1]
    assert source.train.names[0] == "imagenet1k-train-000000/a.jpg"
    assert source.left_out == {NEITHER_HALF: ["imagenet1k-test-00/a.jpg"]}


@pytest.mark.parametrize("names", [("train/000.tar", "val/000.tar"), ("train.tar", "val.tar")])
def test_folders_of_shards_or_one_shard_each_are_the_halves(tmp_path: Path, names: tuple[str, str]) -> None:
    shard(tmp_path / names[0], {"a": "cat", "b": "dog"})
    shard(tmp_path / names[1], {"c": "dog"})
    source = opened(tmp_path)
    assert (source.classes, source.train.labels.tolist(), source.validation.labels.tolist()) == (
        ["cat", "dog"],
        [0, 1],
        [1],
    )


@pytest.mark.parametrize(
    ("suffix", "texts", "classes"),
    [
        ("cls", ["10", "9\n"], ["9", "10"]),
        ("cls", ["b", "a"], ["a", "b"]),
        ("json", [json.dumps({"label": 10}), json.dumps({"label": 9, "more": 1})], ["9", "10"]),
        ("json", [json.dumps({"label": "b"}), json.dumps({"label": "a"})], ["a", "b"]),
        ("json", [json.dumps({"caption": "b"}), json.dumps([])], ["images"]),
        ("txt", ["10", "9"], ["9", "10"]),
        ("txt", ["a photo of 2 cats", "9"], ["images"]),
    ],
)
def test_a_class_is_a_number_or_a_name_and_a_caption_is_none(
    tmp_path: Path, suffix: str, texts: list[str], classes: list[str]
) -> None:
    shard(tmp_path / "000.tar", dict(zip(["x/a", "x/b"], texts, strict=True)), suffix)
    source = opened(tmp_path)
    assert source.classes == classes
    assert source.train.labels.tolist() == ([1, 0] if len(classes) == 2 else [0, 0])
    assert source.left_out == ({} if len(classes) == 2 else {OTHER: [f"000/x/a.{suffix}", f"000/x/b.{suffix}"]})


def test_one_tar_with_classes_is_a_shard_and_a_tar_of_folders_is_none(tmp_path: Path) -> None:
    assert opened(shard(tmp_path / "a.tar", {"x/1": "7", "y/2": "7"})).classes == ["7"]
    assert opened(as_tar(tmp_path / "b.tar", {"x/1.jpg": photo(0), "y/2.jpg": photo(1)})).classes == ["x", "y"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    members = {"a.jpg": photo(0), "a.cls": b"0", "a.a.png": photo(1), "b.jpg": photo(2), "c.npy": b"", "c.cls": b"1"}
    as_tar(tmp_path / "000.tar", members)
    (tmp_path / "README.md").write_text("a card", encoding="utf-8")
    source = opened(tmp_path)
    assert source.train.names == ["000/a.jpg"]
    assert source.left_out == {
        FURTHER: ["000/a.a.png"],
        WITHOUT_CLASS: ["000/b.jpg"],
        OTHER: ["000/c.cls", "000/c.npy", "README.md"],
    }
    assert REPLACED not in source.left_out


def test_a_class_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = shard(tmp_path / "000.tar", {"a": "{"}, "json")
    with pytest.raises(DataError, match=r"000/a\.json: cannot be read") as error:
        opened(path.parent)
    one_line(error)
    as_folder(tmp_path / "b", {})
    (tmp_path / "b").mkdir(exist_ok=True)
    shard(tmp_path / "b/test-000.tar", {"a": "1"})
    shard(tmp_path / "b/val-000.tar", {"a": "1"})
    with pytest.raises(DataError, match="splits test, val need a training") as error:
        opened(tmp_path / "b")
    one_line(error)


@pytest.mark.parametrize(
    ("tar", "shard_"),
    [("train/000.tar", True), ("a-000012.tar", True), ("a_0001.tar", True), ("n01440764.tar", False), ("a.tar", False),
     ("ILSVRC2012_img_val.tar", False), ("7.tar", False)],
)  # fmt: skip
def test_a_shard_is_named_by_a_number(tar: str, shard_: bool) -> None:
    assert is_shard(tar) == shard_


@pytest.mark.parametrize(
    ("path", "half"),
    [("data/train-00000-of-00002", "train"), ("val/000", "val"), ("train/test-0", "test"), ("a/b", ""),
     ("train-test-0", ""), ("TRAIN_1", "train"), ("trainer-0", "")],
)  # fmt: skip
def test_the_half_is_the_one_word_of_a_split_from_the_end(path: str, half: str) -> None:
    assert half_of(path) == half
