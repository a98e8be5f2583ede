"""What the stage fid reads, cut down: crops of two photos as prepared images and as samples, and its params."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor, nn

from d2it.data.description import DataDescription, write_description
from d2it.data.samples import SamplesWriter
from d2it.data.shards import ShardWriter
from d2it.dvae.model import DynamicVAE, save_dvae
from d2it.grain.entropy import region_entropy
from d2it.params.architecture import dvae_arguments
from d2it.params.load import load_params
from d2it.params.sections import FIDParams, Params
from d2it.ranks.ranks import Ranks
from d2it.size import Size
from stages import encode_latents
from stages.stage import Stage
from tests.evaluation.test_measure import Projection
from tools.deps import ROOT

TRAIN, VALIDATION, SAMPLES = 14, 9, 12
ABOUT = DataDescription(
    train=TRAIN, validation=VALIDATION, classes=["astronaut", "coffee"], labels="folder", image_size=Size.of(32),
    fingerprint="one",
)  # fmt: skip
PERCEPTUAL = {"perceptual": "st_lpips", "perceptual_weight": 0.1}


class Installed(Projection):
    name, identity = "efficientnet_lite0", "efficientnet_lite0 of a test 1"


class Difference(nn.Module):
    """Stands for a perceptual distance."""

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        return (images - others).abs().mean((1, 2, 3))


def crops(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Of two photos in turn, with their labels."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    photos = data.astronaut(), data.coffee()[:, :400]
    corners = rng.integers(0, 400 - 32, (count, 2))
    return np.stack([photos[i % 2][y : y + 32, x : x + 32] for i, (y, x) in enumerate(corners)]), labels


def write_prepared(prepare: Path, about: DataDescription) -> None:
    for half, count in (("train", about.train), ("validation", about.validation)):
        images, labels = crops(count, seed=count)
        entropy = region_entropy(images, 16, 0.01)
        for name, rows in (("images", images), ("entropy", entropy), ("labels", labels)):
            with ShardWriter(prepare / half, name, rows.shape[1:], rows.dtype, rows=count) as writer:
                writer.append(rows)
    write_description(prepare, about)


def write_samples(path: Path, count: int = SAMPLES, size: int = 32) -> None:
    images, labels = crops(count, seed=1)
    with SamplesWriter(path, images=count, size=Size.of(size)) as writer:
        writer.append(images[:, :size, :size], labels)


def params(**changes: Any) -> Params:
    """The demo's, with a small section `fid` in which some keys have other values."""
    demo = load_params(ROOT / "params.yaml")
    small = {"batch_size": 4, "neighbours": 2, "reference_images": 6, "classifier_images": 10}
    fid_params = FIDParams.model_validate(demo.fid.model_dump() | small | changes)
    return demo.model_copy(update={"fid": fid_params, "dvae": demo.dvae.model_copy(update=PERCEPTUAL)})


def stage(outputs: Path, reports: list[set[str]] | None = None, *, name: str = "fid", **changes: Any) -> Stage:
    def report(_: int, __: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]] | None = None) -> None:
        if reports is not None:
            reports.append(set(pictures or {}))

    (outputs / name).mkdir(exist_ok=True)
    return Stage(
        name=name,
        params=params(**changes),
        outputs=outputs,
        scratch=outputs / "scratch",
        weights=outputs / "weights",
        device=torch.device("cpu"),
        ranks=Ranks(),
        report=report,
    )


def write_earlier(outputs: Path) -> None:
    """Photos, a DVAE without training, its latents, samples and their maps."""
    write_prepared(outputs / "prepare", ABOUT)
    torch.manual_seed(0)
    model = DynamicVAE(**dvae_arguments(load_params(ROOT / "params.yaml")))
    model.thresholds, model.data = [2.0], "one"
    save_dvae(outputs / "train_dvae", model)
    encode_latents.main(stage(outputs, name="encode_latents"))
    write_samples(outputs / "sample" / "samples.npz")
    np.save(outputs / "sample" / "grain_maps.npy", np.random.default_rng(0).integers(0, 2, (SAMPLES, 2, 2), np.uint8))
