"""What a later stage would refuse stops the first one."""

import os
from pathlib import Path

import pytest

from d2it.errors import UserError
from d2it.params.load import check_params, load_params
from d2it.params.sections import Params
from pipeline import ahead
from pipeline.ahead import check_data, check_disk, output_bytes
from pipeline.errors import StageError
from pipeline.image_counts import check_images, wanted_metrics
from tests.data.test_sources import as_folder, files
from tools.deps import ROOT

DEMO = load_params(ROOT / "params.yaml").model_dump()


def changed(**sections: dict[str, object]) -> Params:
    return check_params(DEMO | {name: DEMO[name] | keys for name, keys in sections.items()})


@pytest.mark.parametrize(
    ("counts", "keys", "what"),
    [
        ({"train": 0, "validation": 9, "classes": 2}, {}, "no training images"),
        ({"train": 9, "validation": 0, "classes": 2}, {}, "no validation images"),
        (
            {"train": 9, "validation": 3, "classes": 2},
            {},
            "neighbours = 3: must be below the 3 images",
        ),
        ({"train": 9, "validation": 1, "classes": 2}, {"fid": {"reference": "train"}}, "validation: 1 images"),
        ({"train": 9, "validation": 9, "classes": 2}, {"sample": {"images": 2}}, "sample.images: 2 images: KID"),
        ({"train": 9, "validation": 9, "classes": 2}, {"fid": {"reference_images": 3}}, "neighbours = 3"),
        (
            {"train": 9, "validation": 9, "classes": 2},
            {"fid": {"extractor": "inception"}, "sample": {"images": 8}},
            "an Inception score needs at least 10",
        ),
    ],
)
def test_too_few_images_for_fid_are_refused_by_the_name_of_the_param(
    counts: dict[str, int], keys: dict[str, dict[str, object]], what: str
) -> None:
    params = changed(**keys)
    with pytest.raises(UserError, match=what) as error:
        check_images(params, samples=params.sample.images, **counts)
    assert "\n" not in str(error.value)
    check_images(changed(), train=20, validation=20, classes=2, samples=20)


@pytest.mark.parametrize("classes", [0, 1, 2])
def test_class_agreement_is_wanted_where_there_are_classes(classes: int) -> None:
    assert ("class_agreement" in wanted_metrics(changed().fid, classes)) == (classes > 1)


def test_bytes_of_outputs_are_those_of_the_demo() -> None:
    """1,898 images of 64 x 64 pixels; latents of 4 x 4 regions, half of them with 4 codes and half with 1, mean and
    deviation of 4 channels, plain and mirrored."""
    sizes = output_bytes(changed(), 1898, 1518)
    assert sizes["prepare"] == 1898 * (64 * 64 * 3 + 16 * 4 + 8)
    assert sizes["encode_latents"] == 2 * 1518 * (8 * (8 * 4 + 8) * 2 + 16 + 8 + 8)
    assert sizes["sample"] == 1008 * 64 * 64 * 3


def test_images_of_any_shape_take_what_as_many_pixels_take() -> None:
    square = output_bytes(changed(data={"image_size": 128}), 10, 8)
    assert output_bytes(changed(data={"image_size": [64, 256]}), 10, 8) == square


def test_latents_of_a_photo_at_the_papers_sizes_take_at_most_065_of_dense_ones() -> None:
    """33,296 bytes: mean and deviation of 4 channels at 32 x 32 positions, grain map and label, plain and mirrored."""
    grain = {"factors": [8, 16], "fine_ratio": 0.5}
    sizes = output_bytes(changed(data={"image_size": 256, "flip": True}, grain=grain), 1, 1)
    assert sizes["encode_latents"] <= 0.65 * 33296


@pytest.mark.parametrize(
    ("copies", "blocks", "old", "fits"),
    [(True, 250, 0, True), (True, 199, 0, False), (False, 100, 0, True), (True, 150, 60, True), (True, 150, 40, False)],
)
def test_outputs_need_room_for_dvcs_copies_beside_what_they_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, copies: bool, blocks: int, old: int, fits: bool
) -> None:
    (tmp_path / "outputs" / "prepare").mkdir(parents=True)
    (tmp_path / "outputs" / "prepare" / "images-00000.npy").write_bytes(bytes(old * 4096))
    monkeypatch.setattr(ahead, "_copying_cache", lambda _: tmp_path if copies else None)
    free = os.statvfs_result([4096, 4096, 1000, blocks, blocks, 0, 0, 0, 0, 255])
    monkeypatch.setattr(os, "statvfs", lambda _: free)
    if fits:
        check_disk(100 * 4096, tmp_path)
    else:
        with pytest.raises(StageError, match="with DVC's cache, which copies them"):
            check_disk(100 * 4096, tmp_path)


def test_what_dvcs_cache_does_here_is_asked_of_dvc() -> None:
    cache = ahead._copying_cache(ROOT)
    assert cache is None or (cache.is_dir() and cache.is_relative_to(ROOT / ".dvc"))


def test_a_source_of_too_few_images_is_refused_before_any_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    as_folder(tmp_path / "photos", dict.fromkeys(files([f"{i % 2}/{i}.png" for i in range(12)]), b"no image"))
    with pytest.raises(UserError, match="2 images: KID needs at least 3"):
        check_data(changed(data={"source": "photos"}))
