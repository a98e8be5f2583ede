"""Speed of the pipeline, and how much of it is not the models': `python -m benchmarks.pipeline [--json]`.

At demo size and at size B, on random data in a temporary folder, by the project's own code:

- encode: the stage encode_latents, from photos on disk to latents on disk, the loading of the DVAE included;
- sample step: one of `ImageGenerator.latents`, with the params' sampler and guidance;
- train step: one of `train` on `content_loss`, from latents on disk.

Outside the model is all but the model's forward pass (with the planning of routes), its backward pass and the
optimizer's step: reading and writing, noise, loss, averaged weights, gradient norm, checks, curves. No checkpoint is
written: how often is a param. Targets for a train step: at most 3 % outside at size B, at most 10 % at demo size. On a
CPU size B runs on small batches in float32, on a GPU as in its preset. About 3 minutes on 2 cores.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.content_training import CLASSES, NoCheckpoints, Trained, with_content
from benchmarks.inside import Inside
from benchmarks.timing import arguments, show
from d2it.cost.synthetic import write_latents
from d2it.data.description import DataDescription, write_description
from d2it.data.latents import Latents
from d2it.data.shards import ShardWriter
from d2it.device import pick_device
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.noise import ImageStreams
from d2it.dvae.encoder import HierarchicalEncoder
from d2it.dvae.model import DynamicVAE, save_dvae
from d2it.params.architecture import dvae_arguments
from d2it.params.load import load_params
from d2it.params.sections import Params
from d2it.ranks.ranks import Ranks
from d2it.transformer.content import DynamicContentTransformer
from stages import encode_latents
from stages.stage import Stage

ROOT = Path(__file__).parents[1]
FINGERPRINT = "random"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A size, and how much of it is done per round."""

    params: Params
    photos: int
    sample_batch: int
    sample_steps: int
    train_steps: int


def cases(device: torch.device) -> dict[str, Case]:
    """Demo size and size B, the latter small on a CPU."""
    demo, b = load_params(ROOT / "params.yaml"), load_params(ROOT / "presets" / "imagenet_b.yaml")
    if device.type == "cpu":
        small = with_content(b, batch_size=8, micro_batch=8, precision="float32")
        return {
            "demo": Case(params=demo, photos=512, sample_batch=72, sample_steps=8, train_steps=20),
            "B": Case(params=small, photos=4, sample_batch=8, sample_steps=1, train_steps=1),
        }
    return {
        "demo": Case(params=demo, photos=4096, sample_batch=72, sample_steps=32, train_steps=100),
        "B": Case(params=b, photos=256, sample_batch=b.sample.batch_size, sample_steps=10, train_steps=10),
    }


def write_inputs(case: Case, outputs: Path) -> None:
    """What the stages prepare, train_dvae and encode_latents would have left, with random values."""
    p, rng = case.params, np.random.default_rng(0)
    size, regions = p.data.image_size, p.region_grid
    entropy = rng.random((case.photos, *regions), np.float32)
    arrays = {
        "images": rng.integers(0, 256, (case.photos, *size, 3), np.uint8),
        "labels": rng.integers(0, CLASSES, case.photos),
        "entropy": entropy,
    }
    for name, array in arrays.items():
        with ShardWriter(
            outputs / "prepare" / "train", name, row_shape=array.shape[1:], dtype=array.dtype, rows=case.photos
        ) as writer:
            writer.append(array)
    description = DataDescription(
        train=case.photos, validation=0, classes=[str(i) for i in range(CLASSES)], labels=p.data.labels,
        image_size=size, fingerprint=FINGERPRINT,
    )  # fmt: skip
    write_description(outputs / "prepare", description)
    dvae = DynamicVAE(**dvae_arguments(p))
    dvae.thresholds, dvae.data = [0.5], FINGERPRINT
    save_dvae(outputs / "train_dvae", dvae)
    write_latents(outputs / "latents", p, 4 * p.content_transformer.batch_size)


class Work:
    """The three kinds of work of a case."""

    def __init__(self, case: Case, outputs: Path, device: torch.device) -> None:
        p = case.params
        write_inputs(case, outputs)
        (outputs / "encode_latents").mkdir()
        self.case, self.device = case, device
        self.dvae = DynamicVAE(**dvae_arguments(p))  # decodes nothing here: latents are what is timed
        self.stage = Stage(
            name="encode_latents", params=p, outputs=outputs, scratch=outputs / "scratch", weights=outputs,
            device=device, ranks=Ranks(), report=lambda *_: None,
        )  # fmt: skip
        self.latents = Latents(outputs / "latents")
        self.training = Trained(p, self.latents, device)

    def encode(self) -> int:
        """Encode all photos; returns their number, mirrored ones included."""
        encode_latents.main(self.stage)
        return self.case.photos * (2 if self.stage.params.data.flip else 1)

    def sample(self) -> int:
        """Some sampling steps of a batch; returns images x steps."""
        p, n = self.case.params, self.case.sample_batch
        generator = ImageGenerator(
            dvae=self.dvae, content=self.training.ema.model, schedule=self.training.training.schedule,
            objective=p.diffusion.objective, steps=self.case.sample_steps, sampler=p.sample.sampler,
            guidance=p.sample.guidance, guidance_interval=p.sample.guidance_interval,
        )  # fmt: skip
        maps, labels = self.latents.take_maps(np.arange(n) % self.latents.rows, self.device)
        generator.latents(labels, maps, ImageStreams(range(n), self.device))
        return n * self.case.sample_steps

    def train(self) -> int:
        """Some training steps; returns images seen."""
        return self.training.train(self.case.train_steps, NoCheckpoints(self.stage.scratch), Ranks())


def measure(work: Callable[[], int], kind: type[nn.Module], rounds: int) -> tuple[float, float]:
    """Medians of images/s and of the share of time outside models of this kind, after a round to warm up."""
    work()
    rates, shares = [], []
    for _ in range(rounds):
        with Inside(kind) as clock:
            images = work()
        rates.append(images / clock.total)
        shares.append(clock.share_outside)
    return statistics.median(rates), statistics.median(shares)


def main() -> None:
    """Measure all."""
    about = "Speed of the pipeline, and how much of it is not the models'."
    options, device = arguments(about, rounds=3, sizes=["demo", "B"]), pick_device()
    torch.manual_seed(0)
    numbers: dict[str, object] = {"device": str(device)}
    for name in options.sizes:
        case = cases(device)[name]
        with tempfile.TemporaryDirectory() as folder:
            work = Work(case, Path(folder), device)
            kinds: dict[str, tuple[Callable[[], int], type[nn.Module]]] = {
                "encode": (work.encode, HierarchicalEncoder),
                "sample step": (work.sample, DynamicContentTransformer),
                "train step": (work.train, DynamicContentTransformer),
            }
            for what, (run, kind) in kinds.items():
                print(f"{name}, {what} ...", file=sys.stderr, flush=True)
                rate, outside = measure(run, kind, options.rounds)
                numbers |= {f"{name}, {what}, images/s": rate, f"{name}, {what}, % outside the model": 100 * outside}
    show(numbers, options.json)


if __name__ == "__main__":
    main()
