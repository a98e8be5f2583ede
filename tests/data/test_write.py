"""Shards are written each on its own: by any number of processes, and none of them twice."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from d2it.data import write
from d2it.data.imageset import Cropped, DataError, ImageSet, Source, UnreadableError
from d2it.data.shards import Shards
from d2it.data.write import Allowed, gather, shards_of, write_shards
from d2it.size import Size
from tests.data.written import write_source

SIZE, REGION = Size.of(8), 4


def measure(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    n, _, _, _ = images.shape
    return images.reshape(n, 2, REGION, 2, REGION, 3).mean((2, 4, 5)).astype(np.float32)


def source(
    train: int, validation: int, damaged: tuple[int, ...] = (), read: Callable[[int], None] = lambda _: None
) -> Source:
    """Images whose pixels are their numbers; validation images follow the training images."""

    def images(first: int, count: int) -> ImageSet:
        def one(index: int) -> Cropped:
            number = first + index
            read(number)
            if number in damaged:
                raise UnreadableError(f"{number}.png", "damaged")
            return Cropped(np.full((*SIZE, 3), number, np.uint8), False)

        return ImageSet(SIZE, np.arange(count) % 3, one)

    return Source(images(0, train), images(train, validation), ["a", "b", "c"])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _few_images_per_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "SHARD_IMAGES", 20)
    monkeypatch.setattr(write, "CHUNK", 6)


def test_every_image_is_in_exactly_one_shard() -> None:
    data = source(50, 21)
    for half, images in (("train", data.train), ("validation", data.validation)):
        rows = [row for shard in shards_of(data) if shard.half == half for row in range(shard.start, shard.stop)]
        assert rows == list(range(len(images)))


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_any_number_of_processes_writes_the_bytes_of_one(tmp_path: Path, processes: int) -> None:
    data = source(50, 21, damaged=(3, 22))
    one = write_source(data, tmp_path / "one", REGION, measure, allowed=Allowed(0.1))
    shards = shards_of(data)
    for rank in reversed(range(processes)):
        write_shards(
            data, shards[rank::processes], tmp_path / "several", region_size=REGION, measure=measure, threads=1
        )
    assert gather(data, tmp_path / "several", Allowed(0.1)) == one
    several = content(tmp_path / "several")
    assert {name: data for name, data in several.items() if name.endswith(".npy")} == content(tmp_path / "one")


def test_what_was_killed_goes_on_with_the_shards_that_are_missing(tmp_path: Path) -> None:
    seen: list[int] = []

    def kill(number: int) -> None:
        if number == 45:
            raise KeyboardInterrupt
        seen.append(number)

    killed, whole = source(50, 21, read=kill), source(50, 21, read=seen.append)
    with pytest.raises(KeyboardInterrupt):
        write_shards(killed, shards_of(killed), tmp_path / "a", region_size=REGION, measure=measure, threads=1)
    seen.clear()
    write_shards(whole, shards_of(whole), tmp_path / "a", region_size=REGION, measure=measure)
    assert sorted(seen) == list(range(40, 71)), "two shards of 20 images were whole"
    expected = write_source(source(50, 21), tmp_path / "b", REGION, measure)
    assert gather(whole, tmp_path / "a", Allowed()) == expected


@pytest.mark.parametrize("name", ["images", "labels", "entropy", "shard"])
def test_a_shard_that_is_not_what_was_written_is_written_again(tmp_path: Path, name: str) -> None:
    data = source(50, 21)
    write_shards(data, shards_of(data), tmp_path / "a", region_size=REGION, measure=measure)
    before = content(tmp_path / "a")
    (path,) = (tmp_path / "a" / "train").glob(f"{name}-00001.*")
    path.write_bytes(path.read_bytes()[:-9])
    write_shards(data, shards_of(data), tmp_path / "a", region_size=REGION, measure=measure)
    assert content(tmp_path / "a") == before


def test_a_file_that_has_a_link_elsewhere_is_never_written_into(tmp_path: Path) -> None:
    data = source(20, 1)
    write_shards(data, shards_of(data), tmp_path / "a", region_size=REGION, measure=measure)
    file, link = tmp_path / "a" / "train" / "images-00000.npy", tmp_path / "delivered.npy"
    link.hardlink_to(file)
    before = link.read_bytes()
    (tmp_path / "a" / "train" / "shard-00000.json").unlink()
    other = replace(data, train=replace(data.train, read=lambda _: Cropped(np.zeros((*SIZE, 3), np.uint8), False)))
    write_shards(other, shards_of(other), tmp_path / "a", region_size=REGION, measure=measure)
    assert file.read_bytes() != link.read_bytes() == before


def test_a_shard_of_damaged_images_alone_has_no_files(tmp_path: Path) -> None:
    data = source(50, 5, damaged=tuple(range(20, 40)))
    written = write_source(data, tmp_path / "a", REGION, measure, allowed=Allowed(0.5))
    assert (written.train, written.damaged) == (30, 20)
    assert sorted(path.name for path in (tmp_path / "a" / "train").glob("images*")) == [
        "images-00000.npy", "images-00002.npy",
    ]  # fmt: skip
    pixels = Shards(tmp_path / "a" / "train", "images").take(np.arange(30))
    assert pixels[:, 0, 0, 0].tolist() == [*range(20), *range(40, 50)]


def test_damaged_images_of_all_shards_are_named_together(tmp_path: Path) -> None:
    data = source(50, 21, damaged=(3, 22, 60))
    with pytest.raises(DataError, match=r"3 of 71 .*: 3\.png: damaged; 22\.png: damaged; 60\.png: damaged"):
        write_source(data, tmp_path / "a", REGION, measure)
    assert not any((tmp_path / "a").iterdir())


def test_too_many_damaged_images_leave_nothing_also_where_a_half_is_empty(tmp_path: Path) -> None:
    data = source(30, 0, damaged=(3,))
    with pytest.raises(DataError, match=r"1 of 30 .*: 3\.png: damaged"):
        write_source(data, tmp_path / "a", REGION, measure)
    assert not any((tmp_path / "a").iterdir())


def test_the_fingerprint_is_of_pixels_and_labels_of_both_halves(tmp_path: Path) -> None:
    def fingerprint(name: str, data: Source) -> str:
        return write_source(data, tmp_path / name, REGION, measure).fingerprint

    data = source(50, 21)
    labels = replace(data.train, labels=(np.arange(50) + 1) % 3)
    others = {
        "same": source(50, 21), "labels": replace(data, train=labels), "fewer": source(50, 20), "moved": source(51, 20),
    }  # fmt: skip
    prints = {name: fingerprint(name, one) for name, one in others.items()}
    assert fingerprint("first", data) == prints["same"]
    assert len(set(prints.values())) == 4


def test_the_record_says_what_a_shard_holds(tmp_path: Path) -> None:
    data = source(20, 0, damaged=(3,))
    write_shards(data, shards_of(data), tmp_path, region_size=REGION, measure=measure)
    record = json.loads((tmp_path / "train" / "shard-00000.json").read_text())
    assert (record["images"], record["labels"], record["damaged"]) == (19, [0, 1, 2], [["3.png", "damaged"]])
