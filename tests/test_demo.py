"""What the demo must reach, read from the outputs of `dvc repro` in this very folder; `pytest -m demo -s` prints it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2it.data.description import read_description
from d2it.data.photos import to_uint8
from d2it.data.samples import Samples
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.model import DynamicVAE, load_dvae
from d2it.evaluation.all_pairs import kid
from d2it.evaluation.features import open_extractor
from d2it.evaluation.images import PreparedImages
from d2it.evaluation.similarity import psnr
from d2it.params.load import load_params
from d2it.saved import read_config
from d2it.transformer.content import DynamicContentTransformer, load_content
from d2it.transformer.grain import DynamicGrainTransformer, load_grain
from tools.deps import ROOT

OUTPUTS = ROOT / "outputs"
pytestmark = [
    pytest.mark.demo,
    pytest.mark.skipif(not (OUTPUTS / "fid" / "metrics.json").exists(), reason="needs the outputs of `dvc repro`"),
]
CPU = torch.device("cpu")


def metrics(stage: str) -> dict[str, float]:
    numbers: dict[str, float] = json.loads((OUTPUTS / stage / "metrics.json").read_text(encoding="utf-8"))
    return numbers


@pytest.fixture(scope="module", autouse=True)
def _all_threads() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(torch.multiprocessing.cpu_count())
    yield
    torch.set_num_threads(threads)


def test_reconstructions_are_6_db_better_than_the_mean_colour_of_regions() -> None:
    numbers = metrics("train_dvae")
    print(f"\nvalidation PSNR {numbers['psnr']:.2f} dB, mean colours {numbers['psnr_mean_colour']:.2f} dB")
    assert numbers["psnr"] >= numbers["psnr_mean_colour"] + 6


def test_measured_fine_ratio_is_the_asked_one_within_a_point() -> None:
    asked = load_params(ROOT / "params.yaml").grain.shares[-1]
    measured = metrics("encode_latents")["fine_ratio"]
    print(f"\nfine ratio of the training set {measured:.4f}, asked {asked}")
    assert measured == pytest.approx(asked, abs=0.01)


def test_sampled_grain_maps_are_like_real_ones() -> None:
    numbers = metrics("fid")
    print(
        f"\nsampled grain maps: fine ratio {numbers['grain_maps_fine_ratio']:.4f} "
        f"(real {numbers['grain_maps_fine_ratio_real']:.4f}), "
        f"total variation over 2 x 2 patterns {numbers['grain_maps_pattern_total_variation']:.4f}"
    )
    assert numbers["grain_maps_fine_ratio_difference"] <= 0.03
    assert numbers["grain_maps_pattern_total_variation"] <= 0.1


def untrained_samples(n: int, batch: int = 64) -> np.ndarray[Any, Any]:
    """Samples of the same models with initial weights, drawn as the stage does, in fewer steps."""
    torch.manual_seed(0)
    dvae = DynamicVAE(**load_dvae(OUTPUTS / "train_dvae").architecture).eval()
    content = DynamicContentTransformer(**load_content(OUTPUTS / "train_content").architecture).eval()
    grain = DynamicGrainTransformer(**load_grain(OUTPUTS / "train_grain").architecture).eval()
    config = read_config(OUTPUTS / "train_content")
    schedule = linear_schedule(**config["schedule"])
    sampler = load_params(ROOT / "params.yaml").sample.sampler
    generator = ImageGenerator(
        dvae=dvae, content=content, schedule=schedule, objective=config["objective"], steps=20, sampler=sampler
    )
    images = []
    with torch.no_grad():
        for start in range(0, n, batch):
            labels = torch.arange(start, min(start + batch, n)) % max(1, content.no_class)
            streams = ImageStreams(range(start, start + len(labels)), CPU)
            maps = sample_grain_maps(schedule.respaced(20), grain, labels, streams)
            images.append(to_uint8(generator.images(labels, maps, streams)))
    return np.concatenate(images)


def test_the_kid_of_samples_is_at_most_half_of_that_of_untrained_models(tmp_path: Path) -> None:
    """KID, since a Frechet distance of few images in 1,280 dimensions is mostly a measure of their number."""
    real = PreparedImages(OUTPUTS / "prepare" / "validation")
    extractor = open_extractor("efficientnet_lite0", tmp_path, CPU)
    samples = Samples(OUTPUTS / "sample" / "samples.npz")
    images = untrained_samples(144), samples.take(np.arange(len(samples))), real.take(np.arange(len(real)))
    features = [np.concatenate([extractor(x[i : i + 16]).pool for i in range(0, len(x), 16)]) for x in images]
    untrained, ours = (kid(features[2], one).value for one in features[:2])
    print(f"\nKID, EfficientNet-Lite0: samples {ours:.4f}, untrained models {untrained:.4f}")
    assert ours <= 0.5 * untrained
    assert ours == pytest.approx(metrics("fid")["kid_efficientnet_lite0"], rel=1e-3)


def test_samples_show_the_class_that_was_asked_for_and_look_like_real_images() -> None:
    numbers = metrics("fid")
    ours, real = (numbers[f"class_agreement{side}_efficientnet_lite0"] for side in ("", "_validation"))
    kid, error = numbers["kid_efficientnet_lite0"], numbers["kid_efficientnet_lite0_standard_error"]
    classes = len(read_description(OUTPUTS / "prepare").classes)
    number = len(Samples(OUTPUTS / "sample" / "samples.npz"))
    print(
        f"\n{number} samples: class agreement {ours:.3f} (validation images {real:.3f}, chance {1 / classes:.3f}); "
        f"KID {kid:.4f} ± {error:.4f}"
    )
    assert number >= 1000
    assert ours >= 0.3
    assert kid <= 0.2


def test_bfloat16_changes_samples_by_less_than_the_eye_sees() -> None:
    """The same noise and grain maps, with the content transformer in float32 and in bfloat16."""
    params, config = load_params(ROOT / "params.yaml"), read_config(OUTPUTS / "train_content")
    labels = torch.arange(8)
    maps = torch.from_numpy(np.load(OUTPUTS / "sample" / "grain_maps.npy", allow_pickle=False)[:8])
    generator = ImageGenerator(
        dvae=load_dvae(OUTPUTS / "train_dvae"), content=load_content(OUTPUTS / "train_content"),
        schedule=linear_schedule(**config["schedule"]), objective=config["objective"], steps=params.sample.steps,
        sampler=params.sample.sampler, guidance=params.sample.guidance,
    )  # fmt: skip
    images = [
        to_uint8(replace(generator, precision=precision).images(labels, maps, ImageStreams(range(8), CPU)))
        for precision in ("float32", "bfloat16")
    ]
    difference = np.abs(images[0].astype(int) - images[1].astype(int))
    print(f"\nbfloat16 against float32: {difference.mean():.2f} of 255 on average, {psnr(*images).mean():.1f} dB")
    assert difference.mean() < 5
    assert difference.any()


def test_a_second_repro_runs_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert re.findall("Running stage '(.*)'", done.stdout) == ["manifest"]


@pytest.mark.parametrize(
    "picture",
    [
        "prepare/grain_maps.png",
        "train_dvae/reconstructions.png",
        "train_grain/maps.png",
        "train_content/samples.png",
        "sample/samples.png",
        "sample/tokens.png",
        "sample/denoising.gif",
        "fid/beside_real.png",
        "fid/nearest.png",
        "fid/grain_maps.png",
    ],
)
def test_there_is_a_picture_to_look_at(picture: str) -> None:
    assert (OUTPUTS / Path(picture)).stat().st_size > 1000
