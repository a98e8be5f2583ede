"""What the demo must reach, read from the outputs of `dvc repro` in this very folder; `pytest -m demo -s` prints it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2it.data.photos import to_uint8
from d2it.data.shards import Shards
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.model import DynamicVAE, load_dvae
from d2it.evaluation.features import InceptionFeatures, random_weights
from d2it.evaluation.frechet import frechet_distance
from d2it.evaluation.statistics import ImageStatistics, measured_features
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


def test_reconstructions_are_3_db_better_than_the_mean_colour_of_regions() -> None:
    numbers = metrics("train_dvae")
    print(f"\nvalidation PSNR {numbers['psnr']:.2f} dB, mean colours {numbers['psnr_mean_colour']:.2f} dB")
    assert numbers["psnr"] >= numbers["psnr_mean_colour"] + 3


def test_measured_fine_ratio_is_the_asked_one_within_a_point() -> None:
    asked = load_params(ROOT / "params.yaml").grain.shares[-1]
    measured = metrics("encode_latents")["fine_ratio"]
    print(f"\nfine ratio of the training set {measured:.4f}, asked {asked}")
    assert measured == pytest.approx(asked, abs=0.01)


def test_sampled_grain_maps_are_like_real_ones() -> None:
    numbers = metrics("train_grain")
    print(
        f"\nsampled grain maps: fine ratio {numbers['fine_ratio']:.4f} (real {numbers['fine_ratio_real']:.4f}), "
        f"total variation over 2 x 2 patterns {numbers['pattern_total_variation']:.4f}"
    )
    assert numbers["fine_ratio_difference"] <= 0.03
    assert numbers["pattern_total_variation"] <= 0.15


def untrained_samples(n: int, batch: int = 64) -> np.ndarray[Any, Any]:
    """Samples of the same models with initial weights, drawn as the stage does, in fewer steps."""
    torch.manual_seed(0)
    dvae = DynamicVAE(**load_dvae(OUTPUTS / "train_dvae").architecture).eval()
    content = DynamicContentTransformer(**load_content(OUTPUTS / "train_content").architecture).eval()
    grain = DynamicGrainTransformer(**load_grain(OUTPUTS / "train_grain").architecture).eval()
    config = read_config(OUTPUTS / "train_content")
    schedule = linear_schedule(**config["schedule"])
    generator = ImageGenerator(dvae=dvae, content=content, schedule=schedule, objective=config["objective"], steps=20)
    images = []
    with torch.no_grad():
        for start in range(0, n, batch):
            labels = torch.arange(start, min(start + batch, n)) % max(1, content.no_class)
            streams = ImageStreams(range(start, start + len(labels)), CPU)
            maps = sample_grain_maps(schedule.respaced(20), grain, labels, streams)
            images.append(to_uint8(generator.images(labels, maps, streams)))
    return np.concatenate(images)


def test_the_frechet_distance_of_samples_is_at_most_half_of_that_of_untrained_models() -> None:
    samples = np.load(OUTPUTS / "sample" / "samples.npz", allow_pickle=False)["arr_0"]
    real = Shards(OUTPUTS / "prepare" / "validation", "images")
    sets = (samples, untrained_samples(len(samples)), real.take(np.arange(len(real))))
    extractor = InceptionFeatures(random_weights(), CPU)
    gaussians = []
    for images in sets:
        batches = (measured_features(extractor, images[i : i + 16]) for i in range(0, len(images), 16))
        gaussians.append(ImageStatistics(keep=0).measure(batches).pool.gaussian())
    ours, untrained = (frechet_distance(g, gaussians[2]) for g in gaussians[:2])
    print(
        f"\nFréchet distance, random extractor: samples {ours:.4f}, untrained {untrained:.4f}: {ours / untrained:.3f} x"
    )
    assert ours <= 0.5 * untrained
    assert ours == pytest.approx(metrics("fid")["random_frechet_distance"], rel=1e-3)


def test_a_second_repro_runs_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "up to date" in done.stdout
    assert "Running stage" not in done.stdout


@pytest.mark.parametrize(
    "picture",
    [
        "prepare/grain_maps.png",
        "train_dvae/reconstructions.png",
        "train_grain/maps.png",
        "train_content/samples.png",
        "sample/samples.png",
        "fid/nearest.png",
    ],
)
def test_there_is_a_picture_to_look_at(picture: str) -> None:
    assert (OUTPUTS / Path(picture)).stat().st_size > 1000
