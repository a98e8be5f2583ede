"""Every value of every switch of the paper's tables goes through the stages it concerns, and makes a difference."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.stage import NAMES
from tests.smallest import changed, hand_over, run_stages

pytestmark = pytest.mark.slow

# 16 x 16 finest codes, so that windows 2, 4, 8 and 16 all fit
BASE: dict[str, Any] = {
    "data.image_size": 128, "data.train_crops": 24, "data.flip": False,
    "dvae.images": 8, "dvae.warmup_images": 0, "dvae.cooldown_images": 0, "grain_transformer.images": 32,
    "content_transformer.images": 32, "content_transformer.warmup_images": 0,
    "content_transformer.learning_rate": 0.01, "sample.images": 4,
}  # fmt: skip
MADE = NAMES[:5]  # prepare .. train_content

TRAINED: dict[str, list[Any]] = {
    "refinenet.layers": [0, 1, 2],
    "refinenet.window": [2, 4, 8, 16, "full"],
    "refinenet.tokens": ["fine", "all"],
    "content_transformer.loss_weighting": ["code", "position"],
    "refinenet.position": ["learnable", "fixed"],
    "content_transformer.precision": ["float32", "bfloat16"],
    "content_transformer.qk_norm": [False, True],
    "diffusion.objective": ["epsilon", "v"],
    "seeds.weights": [0, 1],
    "seeds.order": [0, 1],
    "seeds.noise": [0, 1],
}
COSTLY = ("refinenet.layers", "refinenet.position", "content_transformer.qk_norm", "seeds.order", "seeds.noise")
SAMPLED: dict[str, list[Any]] = {
    "sample.grain_source": ["transformer", "real", "random"],
    "sample.sampler": ["ddpm", "ddim", "dpm-solver++"],
    "sample.steps": [1, 4, 250],
    "sample.seed": [0, 1],
    "sample.labels": ["balanced", "random"],
    "sample.precision": ["float32", "bfloat16"],
    "sample.grain_guidance": [1.0, 1.0e6],  # trained for two steps, the transformer hardly knows classes
    "sample.guidance": [0.0, 1.0, 4.0],
    "sample.guidance_channels": ["all", 3],
    "sample.guidance_interval": [[0.0, 1.0], [0.2, 0.9], [0.0, 0.0]],
}
ENCODED: dict[str, dict[str, Any]] = {
    "one grain": {"grain.factors": [8], "grain.fine_ratio": 1.0},
    "one grain, f16": {"grain.factors": [16], "grain.fine_ratio": 1.0, "dvae.multipliers": [1, 1, 2, 2]},
    "LDM's levels": {"dvae.patch": 1, "dvae.multipliers": [1, 2, 2, 2]},
    "two grains": {"grain.fine_ratio": 0.7},
    "two grains, shares": {"grain.fine_ratio": [0.3, 0.7]},
    "all coarse": {"grain.fine_ratio": 0.0},
    "all fine": {"grain.fine_ratio": 1.0},
    "three grains": {"grain.factors": [8, 16, 32], "grain.fine_ratio": [0.3, 0.4, 0.3], "refinenet.window": 4},
    "four grains": {"grain.factors": [8, 16, 32, 64], "grain.fine_ratio": [0.25] * 4, "refinenet.window": 8},
    "vq": {"dvae.regularizer": "vq"},
    "vq, another codebook": {"dvae.regularizer": "vq", "dvae.codebook_size": 32},
}


@pytest.fixture(scope="module", autouse=True)
def _small_pictures() -> Iterator[None]:
    """Those that trainings draw at their end would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in ("train_grain", "train_content"):
            patch.setattr(f"stages.{stage}.SHOWN", 2)
            patch.setattr(f"stages.{stage}.SAMPLING_STEPS", 3)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages up to train_content, without any switch touched."""
    folder = tmp_path_factory.mktemp("base")
    run_stages(changed(BASE), folder, MADE)
    return folder


@pytest.fixture
def after(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """The base with a switch at a value: the stages `names` run again, those before are the base's."""

    def run(place: str, changes: dict[str, Any], *names: str) -> Path:
        hand_over(base, tmp_path / place, [name for name in MADE if name not in names])
        run_stages(changed(BASE | changes), tmp_path / place, names)
        return tmp_path / place / "outputs"

    return run


def samples(outputs: Path) -> np.ndarray[Any, Any]:
    images = np.load(outputs / "sample" / "samples.npz", allow_pickle=False)["arr_0"]
    assert images.shape == (4, 128, 128, 3)
    return images


@pytest.mark.parametrize("key", [pytest.param(k, marks=[pytest.mark.exhaustive] * (k in COSTLY)) for k in TRAINED])
def test_each_value_trains_a_content_transformer_of_its_own_and_samples_come_from_it(
    after: Callable[..., Path], key: str
) -> None:
    weights = {}
    for value in TRAINED[key]:
        outputs = after(str(value), {key: value}, "train_content", "sample")
        weights[value] = (outputs / "train_content" / "weights.safetensors").read_bytes()
        samples(outputs)
    if key == "refinenet.window":
        assert weights.pop(16) == weights["full"]  # on a grid of 16 x 16
    assert len(set(weights.values())) == len(weights)


@pytest.mark.parametrize("key", SAMPLED)
def test_each_value_samples_images_of_its_own(after: Callable[..., Path], key: str) -> None:
    sampled = [samples(after(str(value), {key: value}, "sample")) for value in SAMPLED[key]]
    assert len({images.tobytes() for images in sampled}) == len(sampled)


@pytest.mark.parametrize("times", ["uniform", "logit-normal"])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_flow_goes_through_training_and_sampling(after: Callable[..., Path], times: str, sampler: str) -> None:
    changes = {"diffusion.objective": "flow", "diffusion.flow_times": times, "sample.sampler": sampler}
    samples(after("flow", changes, "train_content", "sample"))


def test_more_fine_regions_cost_more_multiply_adds_and_no_more_parameters(after: Callable[..., Path]) -> None:
    costs = []
    for ratio in (0.25, 1.0):
        names = ("train_dvae", "encode_latents", "train_content")
        outputs = after(str(ratio), {"grain.fine_ratio": ratio}, *names)
        metrics = json.loads((outputs / "train_content" / "metrics.json").read_text())
        costs.append((metrics["parameters"], metrics["multiply_adds"]))
    (few, cheap), (many, expensive) = costs
    assert few == many > 0
    assert 0 < cheap < expensive


@pytest.mark.parametrize("name", ENCODED)
def test_grains_shares_and_regularisers_go_from_the_photos_to_samples(tmp_path: Path, name: str) -> None:
    params = changed(BASE | ENCODED[name])
    numbers = run_stages(params, tmp_path, NAMES[:6])
    shares = [numbers["encode_latents"][f"share_of_grain_{g + 1}"] for g in range(len(params.grain.factors))]
    assert shares == pytest.approx(params.grain.shares, abs=0.03)
    assert ("perplexity" in numbers["train_dvae"]) is (params.dvae.regularizer == "vq")
    assert all(np.isfinite(value) for stage in numbers.values() for value in stage.values())
    maps = np.load(tmp_path / "outputs" / "sample" / "grain_maps.npy", allow_pickle=False)
    assert maps.max() < len(params.grain.factors)
    samples(tmp_path / "outputs")
