"""Previews of the three trainings: pictures and numbers at each checkpoint, and not a byte of the result."""

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2it.evaluation.images import PreparedImages
from d2it.ranks.ranks import Ranks
from stages.judge import Judge
from stages.stage import Stage
from tests.smallest import changed, hand_over, run_stages

pytestmark = pytest.mark.slow

NAMES = {"train_dvae": "reconstructions", "train_grain": "grain_maps", "train_content": "samples"}
BEFORE = ("prepare", "train_dvae", "encode_latents")
Shown = dict[int, tuple[int, ...]]  # shape of the picture by images seen
Measured = dict[int, dict[str, float]]
NUMBERS = {
    "train_dvae": {"preview_psnr", "preview_ssim"},
    "train_grain": {"preview_fine_ratio_difference", "preview_pattern_total_variation"},
    "train_content": {"preview_kid_efficientnet_lite0", "preview_kid_efficientnet_lite0_standard_error"},
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    run_stages(changed({}), folder, BEFORE)
    return folder


def trained(name: str, earlier: Path, folder: Path, images: int, metrics: int = 0) -> tuple[bytes, Shown, Measured]:
    """Weights of a stage, the pictures that it reported, and the numbers of previews."""
    shown: Shown = {}
    measured: Measured = {}

    def report(step: int, numbers: Mapping[str, float], pictures: Mapping[str, Any] | None = None) -> None:
        shown.update({step: pictures[NAMES[name]].shape} if pictures else {})
        if of_preview := {key: number for key, number in numbers.items() if key.startswith("preview_")}:
            measured[step] = of_preview

    hand_over(earlier, folder, [stage for stage in BEFORE if stage != name])
    params = changed({}).model_copy(update={"preview_images": images, "preview_metrics": metrics})
    judge = Judge(params, folder / "outputs", folder, torch.device("cpu")) if metrics else None
    stage = Stage(
        name=name, params=params, outputs=folder / "outputs", scratch=folder / "scratch", weights=folder,
        device=torch.device("cpu"), ranks=Ranks(), report=report, judge=judge,
    )  # fmt: skip
    stage.out.mkdir(parents=True)
    importlib.import_module(f"stages.{name}").main(stage)
    return (stage.out / "weights.safetensors").read_bytes(), shown, measured


@pytest.mark.parametrize("name", NAMES)
def test_each_checkpoint_has_a_picture_and_no_byte_is_another(name: str, earlier: Path, tmp_path: Path) -> None:
    without, last, _ = trained(name, earlier, tmp_path / "without", 0)
    weights, shown, measured = trained(name, earlier, tmp_path / "with", 3)
    assert weights == without
    assert measured == {}
    end = next(iter(last))
    assert list(shown) == [end // 2, end]
    assert shown[end] == last[end]
    assert shown[end // 2][1] < shown[end][1]  # fewer of them beside each other


@pytest.mark.parametrize("name", NAMES)
def test_each_checkpoint_has_numbers_where_they_are_asked_for_and_no_byte_is_another(
    name: str, earlier: Path, tmp_path: Path
) -> None:
    without, last, _ = trained(name, earlier, tmp_path / "without", 0)
    weights, shown, measured = trained(name, earlier, tmp_path / "with", 0, metrics=5)
    assert weights == without
    assert shown == last  # no picture before the end
    (end,) = last
    assert {images: set(numbers) for images, numbers in measured.items()} == {end // 2: NUMBERS[name]}
    assert all(math.isfinite(number) for number in measured[end // 2].values())


def test_numbers_tell_reconstructions_that_are_near_from_those_that_are_far(earlier: Path) -> None:
    params = changed({}).model_copy(update={"preview_metrics": 8})
    judge = Judge(params, earlier / "outputs", earlier, torch.device("cpu"))
    real = PreparedImages(earlier / "outputs" / "prepare" / "validation").take(np.arange(8))
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    near = np.clip(real.astype(int) + noise % 5 - 2, 0, 255).astype(np.uint8)
    assert (
        judge.reconstructions(real, near)["preview_psnr"] > 35 > 15 > judge.reconstructions(real, noise)["preview_psnr"]
    )
    name = "preview_kid_efficientnet_lite0"
    assert judge.samples(near)[name] < judge.samples(noise)[name]
    maps = np.random.default_rng(0).integers(0, 2, (64, 4, 4), np.uint8)
    same, other = judge.grain_maps(maps, maps), judge.grain_maps(np.zeros_like(maps), maps)
    assert same["preview_pattern_total_variation"] == 0 < other["preview_pattern_total_variation"]
