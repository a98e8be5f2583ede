"""A `dataset.json` names the classes, and folders mean nothing then."""

import json
from pathlib import Path

import pytest

from d2it.data.imageset import DataError, Source
from d2it.data.sources import open_images
from tests.data.formats import listed
from tests.data.test_sources import SIZE, as_folder, as_zip, files, one_line

CONTENT = files([f"{'ab'[i % 2]}/{i}.png" for i in range(6)])
NAMES = [name for name in listed(CONTENT) if name.endswith("png")]


def opened(path: Path) -> Source:
    return open_images(path, SIZE, 0, 0)


@pytest.mark.parametrize("make", [as_folder, as_zip])
@pytest.mark.parametrize("above", ["", "set/"])
def test_labels_come_from_the_list(tmp_path: Path, make, above: str) -> None:
    labels = [[name, number] for name, number in zip(NAMES, [6, 9, 6, 10, 9, 9], strict=True)]
    source = opened(make(tmp_path / "a", {above + name: data for name, data in listed(CONTENT, labels).items()}))
    assert source.classes == ["6", "9", "10"]
    assert source.train.labels.tolist() == [0, 1, 0, 2, 1, 1]
    assert source.train.names == [above + name for name in NAMES]
    assert source.left_out == {}


def test_without_labels_all_are_of_one_class_whatever_their_folders(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = opened(as_folder(tmp_path / "a", listed(CONTENT, None)))
    assert (source.classes, source.train.labels.tolist()) == (["images"], [0] * 6)
    assert "dataset.json has no labels" in caplog.text


def test_an_entry_without_an_image_is_a_remark(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(as_folder(tmp_path / "a", listed(CONTENT, [[name, 0] for name in [*NAMES, "gone.png"]])))
    assert "1 entries have no image: gone.png" in caplog.text


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ([[name, 0] for name in NAMES[:-1]], "00002/img00000005.png: no entry in dataset.json"),
        ([[name, -1] for name in NAMES], "label -1: must be"),
        ([[name, [0.5]] for name in NAMES], r"label \[0\.5\]: must be"),
        ([[name, True] for name in NAMES], "label True: must be"),
        ([[name, 1 << 40] for name in NAMES], "label 1099511627776: must be"),
        ([1, 2], "cannot be understood"),
        ("text", "cannot be understood"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(tmp_path: Path, labels: object, what: str) -> None:
    with pytest.raises(DataError, match=what) as error:
        opened(as_folder(tmp_path / "a", listed(CONTENT, labels)))
    one_line(error)


def test_a_list_that_is_no_json_stops_and_another_json_of_the_name_means_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json: cannot be read") as error:
        opened(as_folder(tmp_path / "a", CONTENT | {"dataset.json": b"{"}))
    one_line(error)
    source = opened(as_folder(tmp_path / "b", CONTENT | {"dataset.json": json.dumps({"name": "x"}).encode()}))
    assert source.classes == ["a", "b"]
    inside = opened(as_folder(tmp_path / "c", CONTENT | {"a/dataset.json": b"{"}))
    assert inside.classes == ["a", "b"]
