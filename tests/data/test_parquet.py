"""Rows of parquet files are images with the classes and splits that the Hub gives them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d2it.data import parquet
from d2it.data.imageset import DataError, Source, UnreadableError
from d2it.data.labelled import WITHOUT_CLASS
from d2it.data.layout import NEITHER_HALF
from d2it.data.sources import open_images
from tests.data.formats import as_parquet, hub_files, hub_metadata, images_column
from tests.data.test_sources import SIZE, files, one_line, photo

NAMES = ["tench", "goldfish", "crane", "crane"]


def rows(*labels: int | None, start: int = 0) -> dict[str, object]:
    content = files([f"{number}.png" for number in range(start + len(labels))])
    return {"image": images_column(content)[start:], "label": pa.array(labels, pa.int64())}


def opened(path: Path, share: float = 0.0, **options: bool) -> Source:
    return open_images(path, SIZE, share, 0, **options)


def test_splits_of_the_hub_are_the_halves_and_classes_keep_their_order(tmp_path: Path) -> None:
    metadata = hub_metadata(NAMES)
    as_parquet(tmp_path / "data/train-00000-of-00002.parquet", rows(1, 0), metadata)
    as_parquet(tmp_path / "data/train-00001-of-00002.parquet", rows(3, 3), metadata)
    as_parquet(tmp_path / "data/validation-00000-of-00001.parquet", rows(2, 1), metadata)
    as_parquet(tmp_path / "data/test-00000-of-00001.parquet", rows(-1), metadata)
    source = opened(tmp_path)
    assert source.classes == ["tench", "goldfish", "crane (3)"]
    assert source.train.labels.tolist() == [1, 0, 2, 2]
    assert source.validation.labels.tolist() == [-1, 1]
    assert source.train.names[:3] == [
        "data/train-00000-of-00002.parquet/0", "data/train-00000-of-00002.parquet/1",
        "data/train-00001-of-00002.parquet/0",
    ]  # fmt: skip
    assert source.left_out == {NEITHER_HALF: ["data/test-00000-of-00001.parquet/0"]}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/0000.parquet", "test/0000.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("imagenet1k-train.parquet", "imagenet1k-test.parquet"),
    ],
)
def test_folders_and_other_words_of_a_name_are_splits_too(tmp_path: Path, train: str, test: str) -> None:
    as_parquet(tmp_path / train, rows(0, 1))
    as_parquet(tmp_path / test, rows(1))
    source = opened(tmp_path)
    assert (len(source.train), len(source.validation)) == (2, 1)
    everything = opened(tmp_path, 0.4, splits=False)
    assert (len(everything.train), len(everything.validation)) == (2, 1)
    assert len(opened(tmp_path, labels=False).classes) == 0


def test_files_of_one_split_have_a_share_held_out_and_two_others_stop(tmp_path: Path) -> None:
    as_parquet(tmp_path / "train-0.parquet", rows(0, 1, 0, 1))
    source = opened(tmp_path, 0.25)
    assert (len(source.train), len(source.validation)) == (3, 1)
    as_parquet(tmp_path / "more.parquet", rows(0))
    with pytest.raises(DataError, match=r"splits train .*data\.splits = share") as error:
        opened(tmp_path)
    one_line(error)


def test_one_file_plain_bytes_numbers_and_other_columns(tmp_path: Path) -> None:
    columns = {"jpg": [photo(0), photo(1), photo(2)], "coarse_label": [0, 0, 0], "fine_label": [10, 2, 10]}
    source = opened(as_parquet(tmp_path / "a.parquet", columns))
    assert (source.classes, source.train.labels.tolist()) == (["2", "10"], [1, 0, 1])
    np.testing.assert_array_equal(source.train.read(1).pixels, opened(hub_files(tmp_path / "b", {
        f"x/{number}.png": photo(number) for number in range(3)
    })).train.read(1).pixels)  # fmt: skip


def test_what_is_chosen_or_missing_is_a_remark(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(as_parquet(tmp_path / "a.parquet", {"img": [photo(0)], "fine_label": [1]}))
    assert "class = column fine_label" in caplog.text
    source = opened(as_parquet(tmp_path / "b.parquet", {"img": [photo(0)], "label": ["a word"]}))
    assert "no column of whole numbers is named label, labels, cls, fine_label" in caplog.text
    assert source.train.labels.tolist() == [0]


def test_training_images_without_a_class_are_left_out_beside_others(tmp_path: Path) -> None:
    source = opened(as_parquet(tmp_path / "a.parquet", rows(0, None, -1, 1)))
    assert source.train.labels.tolist() == [0, 1]
    assert source.left_out == {WITHOUT_CLASS: ["a.parquet/1", "a.parquet/2"]}
    assert opened(as_parquet(tmp_path / "b.parquet", rows(-1, -1))).train.labels.tolist() == [0, 0]


def test_every_row_is_its_own_image_from_any_thread_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache here holds two groups; each is read once where rows are taken in order."""
    as_parquet(tmp_path / "a.parquet", rows(*[0] * 20), group=4)
    as_parquet(tmp_path / "b.parquet", rows(*[0] * 7, start=20), group=4)
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group
    lock = threading.Lock()

    def counting(file: pq.ParquetFile, number: int, **options: object) -> pa.Table:
        with lock:
            read.append(number)
        return whole(file, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    monkeypatch.setattr(parquet, "CACHE_BYTES", 4 * len(photo(0)) * 5 // 2)
    train = opened(tmp_path).train
    pixels = [train.read(row).pixels for row in range(27)]
    assert read == [0, 1, 2, 3, 4, 0, 1]
    shuffled = np.random.default_rng(0).permutation(27)
    with ThreadPoolExecutor(8) as pool:
        for row, again in zip(shuffled, pool.map(lambda row: train.read(row).pixels, shuffled), strict=True):
            np.testing.assert_array_equal(again, pixels[row])
    assert len({image.tobytes() for image in pixels}) == 27


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"bytes": None, "path": "1.png"}, "its path alone, 1.png"),
        ({"bytes": None, "path": None}, "no image in this row"),
        (None, "no image in this row"),
        ({"bytes": b"junk", "path": "1.png"}, "not an image"),
    ],
)
def test_a_row_without_an_image_has_a_name_and_a_reason(tmp_path: Path, image: object, reason: str) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path = as_parquet(tmp_path / "a.parquet", {"image": pa.array([image], kind), "label": [0]})
    with pytest.raises(UnreadableError, match=reason) as error:
        opened(path).train.read(0)
    assert error.value.name == "a.parquet/0"


def test_what_cannot_be_used_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/a.parquet").write_bytes(b"PAR1 junk")
    as_parquet(tmp_path / "text/a.parquet", {"image": ["a"], "text": ["b"]})
    as_parquet(tmp_path / "label/a.parquet", rows(0, 9), hub_metadata(NAMES))
    as_parquet(tmp_path / "two/a.parquet", rows(0), hub_metadata(NAMES))
    as_parquet(tmp_path / "two/b.parquet", rows(0), hub_metadata(NAMES[:2]))
    as_parquet(tmp_path / "none/a.parquet", {"image": pa.array([], pa.binary())})
    as_parquet(tmp_path / "huge/a.parquet", rows(0))
    for folder, what in {
        "junk": "a.parquet: not a readable parquet file",
        "text": "columns image, text: one must be named image or img or jpg or png",
        "label": r"row 1: label 9: must be 0\.\.3, or -1",
        "two": "a.parquet and b.parquet differ",
        "none": "none left to train on",
    }.items():
        with pytest.raises(DataError, match=what) as error:
            opened(tmp_path / folder)
        one_line(error)
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 100)
    with pytest.raises(DataError, match="row_group_size=100") as error:
        opened(tmp_path / "huge")
    one_line(error)
