"""The stage prepare: its outputs for later stages, and that they are always the same."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2it.data import sources, write
from d2it.data.imageset import Cropped, DataError
from d2it.data.shards import Shards
from d2it.grain.entropy import region_entropy
from d2it.params.load import check_params, load_params
from d2it.ranks.ranks import Ranks
from d2it.size import Size
from stages import prepare
from stages.stage import Stage

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml").model_dump()
Reported = list[tuple[int, Mapping[str, float], Mapping[str, Any] | None]]


def run(folder: Path, **data: object) -> tuple[Path, dict[str, float], Reported]:
    """Run the stage in a folder of its own."""
    small = {"source": "skimage", "train_crops": 64, "validation_crops": 16}
    params = check_params(PARAMS | {"data": PARAMS["data"] | small | data})
    reported: Reported = []
    stage = Stage(
        name="prepare",
        params=params,
        outputs=folder,
        scratch=folder,
        weights=folder,
        device=torch.device("cpu"),
        ranks=Ranks(),
        report=lambda step, numbers, pictures=None: reported.append((step, numbers, pictures)),
    )
    stage.out.mkdir(parents=True)
    return stage.out, prepare.main(stage), reported


def photo_folder(root: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        path = root / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(path)
    return root


def test_outputs_agree_with_each_other(tmp_path: Path) -> None:
    out, numbers, reported = run(tmp_path)
    description = json.loads((out / "data.json").read_text())
    assert (description["train"], description["validation"], len(description["classes"])) == (64, 16, 8)
    assert (numbers["train_images"], numbers["validation_images"], numbers["classes"]) == (64, 16, 8)
    for split in ("train", "validation"):
        rows = np.arange(description[split])
        images, labels, entropy = (Shards(out / split, name) for name in ("images", "labels", "entropy"))
        assert len(images) == len(labels) == len(entropy) == len(rows)
        assert (images.row_shape, images.dtype) == ((64, 64, 3), np.uint8)
        assert (labels.row_shape, labels.dtype) == ((), np.int64)
        assert (entropy.row_shape, entropy.dtype) == ((4, 4), np.float32)
        measured = region_entropy(images.take(rows), 16, 0.01)
        np.testing.assert_allclose(entropy.take(rows), measured, atol=1e-5)
        assert np.bincount(labels.take(rows)).tolist() == [len(rows) // 8] * 8
    quantiles = np.load(out / "entropy_quantiles.npy", allow_pickle=False)
    values = Shards(out / "train", "entropy").take(np.arange(64)).astype(np.float64)
    assert (quantiles.shape, quantiles.dtype) == ((4097,), np.float64)
    np.testing.assert_allclose(quantiles, np.quantile(values, np.linspace(0, 1, 4097)), rtol=1e-6)
    assert numbers["mean_entropy"] == pytest.approx(values.mean(), abs=0.05)
    (step, sent, pictures), *others = reported
    assert (step, sent, others) == (0, numbers, [])
    assert pictures is not None
    for name, picture in pictures.items():
        with Image.open(out / f"{name}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), picture)


def test_two_runs_leave_the_same_bytes(tmp_path: Path) -> None:
    first, second = (run(tmp_path / name)[0] for name in ("a", "b"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 11
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_folder_of_images_without_labels(tmp_path: Path) -> None:
    source = photo_folder(tmp_path / "photos", 5)
    out, numbers, _ = run(tmp_path / "outputs", source=str(source), labels="none", validation=0.2)
    description = json.loads((out / "data.json").read_text())
    assert (description["classes"], description["labels"]) == ([], "none")
    assert (description["train"], description["validation"], numbers["classes"]) == (4, 1, 0)
    assert Shards(out / "train", "labels").take(np.arange(4)).tolist() == [0] * 4
    assert (out / "grain_maps.png").is_file()


def test_what_a_source_holds_is_in_the_log_and_in_data_json_before_an_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "photos"
    for half, count in (("train", 12), ("val", 3)):
        photo_folder(source / half, count)
    (source / "notes.txt").write_text("text")

    def look(*_: object, **__: object) -> None:
        raise DataError(json.dumps([capsys.readouterr().out, (tmp_path / "outputs/prepare/data.json").read_text()]))

    monkeypatch.setattr(prepare, "write_shards", look)
    with pytest.raises(DataError) as error:
        run(tmp_path / "outputs", source=str(source))
    log, description = json.loads(str(error.value))
    assert log.splitlines()[0] == "prepare: train: 12 images of 3 classes (a, b, c), train/a/0.png ... train/c/8.png"
    about = json.loads(description)
    assert (about["train"], about["classes"], about["train_names"]) == (
        12,
        ["a", "b", "c"],
        ["train/a/0.png", "train/c/8.png"],
    )
    assert (about["left_out"], about["fingerprint"]) == ({"no images": 1}, "")
    assert not (tmp_path / "outputs/prepare/data.json").exists()


def test_a_relative_source_starts_at_the_repositorys_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo_folder(tmp_path / "photos", 12)
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.setitem(os.environ, "DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(copy)
    assert run(tmp_path / "outputs", source="photos")[1]["classes"] == 3


def test_a_damaged_image_leaves_nothing_but_the_table_of_damaged_ones(tmp_path: Path) -> None:
    source = photo_folder(tmp_path / "photos", 20)
    (source / "a" / "zz.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    with pytest.raises(DataError, match=r"a/zz\.jpg"):
        run(tmp_path / "outputs", source=str(source))
    (left,) = (tmp_path / "outputs" / "prepare").iterdir()
    assert left.name == "damaged.csv"
    assert "a/zz.jpg" in left.read_text()


def test_damaged_images_are_left_out_of_shards_and_counts_where_that_is_asked_for(tmp_path: Path) -> None:
    source = photo_folder(tmp_path / "photos", 20)
    (source / "a" / "zz.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    asked = {"damaged": "skip", "damaged_share": 0.05, "validation": 0.2}
    out, numbers, _ = run(tmp_path / "outputs", source=str(source), **asked)
    description = json.loads((out / "data.json").read_text())
    assert description["train"] + description["validation"] == 20
    assert (description["damaged"], description["left_out"]) == (1, {})
    assert numbers["train_images"] == len(Shards(out / "train", "images")) == description["train"]


def test_validation_images_without_a_label_are_shown_without_a_caption(tmp_path: Path) -> None:
    photo_folder(tmp_path / "photos" / "train", 6)
    photo_folder(tmp_path / "flat", 3)
    (tmp_path / "photos" / "val").mkdir()
    for path in (tmp_path / "flat").rglob("*.png"):
        path.rename(tmp_path / "photos" / "val" / path.name)
    out, numbers, _ = run(tmp_path / "outputs", source=str(tmp_path / "photos"))
    assert (numbers["train_images"], numbers["validation_images"], numbers["classes"]) == (6, 3, 3)
    assert Shards(out / "validation", "labels").take(np.arange(3)).tolist() == [-1] * 3
    assert (out / "grain_maps.png").is_file()


@pytest.mark.parametrize(("classes", "expected"), [(1, 1), (3, 3), (8, 8), (100, 8)])
def test_shown_photos_are_of_as_many_classes_as_there_is_room_for(classes: int, expected: int) -> None:
    labels = np.arange(300) % classes
    chosen = prepare.of_each_class(labels, 8)
    assert len(set(chosen.tolist())) == 8
    assert len(np.unique(labels[chosen])) == expected
    assert prepare.of_each_class(labels[:2], 8).tolist() == [0, 1]


def test_a_killed_run_goes_on_with_the_shards_that_are_missing_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "SHARD_IMAGES", 8)
    photos, reads = photo_folder(tmp_path / "photos", 40), []
    expected, *_ = run(tmp_path / "whole", source=str(photos), validation=0.2)
    decode = sources.decode

    def counted(file: bytes, size: Size) -> Cropped:
        reads.append(size)
        return decode(file, size)

    def killed(file: bytes, size: Size) -> Cropped:
        if len(reads) > 20:
            raise KeyboardInterrupt
        return counted(file, size)

    monkeypatch.setattr(sources, "decode", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "outputs", source=str(photos), validation=0.2)
    assert not list((tmp_path / "outputs" / "prepare").iterdir())
    (tmp_path / "outputs" / "prepare").rmdir()
    reads.clear()
    monkeypatch.setattr(sources, "decode", counted)
    out, *_ = run(tmp_path / "outputs", source=str(photos), validation=0.2)
    assert len(reads) == 24, "two of five shards were whole"
    for path in expected.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (out / path.relative_to(expected)).read_bytes()
