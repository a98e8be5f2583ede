"""Speed of the pipeline, and how much of it is not the models': `python -m benchmarks.pipeline [--json]`.

At demo size and at size B, on random data in a temporary folder, by the project's own code:

- encode: the stage encode_latents, from photos on disk to latents on disk, the loading of the DVAE included;
- sample step: `ImageGenerator.latents` with the params' sampler and guidance, a step;
- train step: `train` on `ContentLoss` from latents on disk, a step.

Outside the model is all but the model's forward pass (with the planning of routes), its backward pass and the
optimizer's step: reading and writing, noise, loss, averaged weights, gradient norm, checks, curves. No checkpoint is
written: how often is a param. Targets for a train step: at most 3 % outside at size B, at most 10 % at demo size. On a
CPU size B runs on small batches in float32, on a GPU as in its preset. About 3 minutes on 2 cores.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.inside import Inside
from benchmarks.timing import arguments, pick_device, show
from d2it.data.latents import Latents, LatentWriter, stack_moments
from d2it.data.shards import ShardWriter
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.encoder import HierarchicalEncoder
from d2it.dvae.model import DVAEConfig, DynamicVAE, save_dvae
from d2it.params import Params, load_params
from d2it.ranks.ranks import Ranks
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.loop import Run, Update, train
from d2it.transformer.content import DynamicContentTransformer, build_content
from stages import encode_latents
from stages.stage import Stage
from stages.train_content import ContentLoss

ROOT = Path(__file__).parents[1]
CLASSES, FINGERPRINT = 10, "random"


@dataclass(frozen=True)
class Case:
    """A size, and how much of it is done a round."""

    params: Params
    photos: int
    sample_batch: int
    sample_steps: int
    train_steps: int


class NoCheckpoints(Checkpoints):
    """Writes none."""

    def save(self, step: int, tensors: dict[str, Any], records: dict[str, Any]) -> None:
        """Nothing."""


def cases(device: torch.device) -> dict[str, Case]:
    """Demo size and size B, the latter small on a CPU."""
    demo, b = load_params(ROOT / "params.yaml"), load_params(ROOT / "presets" / "imagenet_b.yaml")
    if device.type == "cpu":
        small = _changed(b, images=8, batch_size=8, micro_batch=8, precision="float32")
        return {"demo": Case(demo, 512, 72, 8, 20), "B": Case(small, 4, 8, 1, 1)}
    return {"demo": Case(demo, 4096, 72, 32, 100), "B": Case(b, 256, b.sample.batch_size, 10, 10)}


def _changed(params: Params, **content: Any) -> Params:
    return params.model_copy(update={"content": params.content_transformer.model_copy(update=content)})


def write_inputs(case: Case, outputs: Path) -> None:
    """What the stages prepare, train_dvae and encode_latents would have left, with random values."""
    p, rng = case.params, np.random.default_rng(0)
    size, regions, grid = p.data.image_size, p.region_grid, p.latent_grid
    entropy = rng.random((case.photos, regions, regions), np.float32)
    arrays = {
        "images": rng.integers(0, 256, (case.photos, size, size, 3), np.uint8),
        "labels": rng.integers(0, CLASSES, case.photos),
        "entropy": entropy,
    }
    for name, array in arrays.items():
        with ShardWriter(outputs / "prepare" / "train", name, array.shape[1:], array.dtype, case.photos) as writer:
            writer.append(array)
    data = {"fingerprint": FINGERPRINT, "classes": [str(i) for i in range(CLASSES)]}
    (outputs / "prepare" / "data.json").write_text(json.dumps(data), encoding="utf-8")
    d = p.dvae
    dvae = DynamicVAE(
        DVAEConfig(
            d.channels, d.multipliers, d.res_blocks, d.latent_channels, d.regularizer, d.codebook_size, p.grain.factors
        )
    )
    dvae.thresholds, dvae.data = [0.5], FINGERPRINT
    save_dvae(outputs / "train_dvae", dvae)
    rows = 4 * p.content_transformer.batch_size
    mean = torch.randn(rows, d.latent_channels, grid, grid)
    maps = (rng.random((rows, regions, regions)) < 0.5).astype(np.uint8)
    with LatentWriter(outputs / "latents", rows, d.latent_channels, grid, regions) as writer:
        writer.append(stack_moments(mean, mean.abs()), maps, rng.integers(0, CLASSES, rows))


class Work:
    """The three kinds of work of a case."""

    def __init__(self, case: Case, outputs: Path, device: torch.device) -> None:
        p = case.params
        write_inputs(case, outputs)
        (outputs / "encode_latents").mkdir()
        self.case, self.device = case, device
        self.stage = Stage(
            name="encode_latents", params=p, outputs=outputs, scratch=outputs / "scratch", weights=outputs,
            device=device, ranks=Ranks(), report=lambda *_: None,
        )  # fmt: skip
        self.latents = Latents(outputs / "latents")
        sizes = {"factors": p.grain.factors, "latent_grid": p.latent_grid, "latent_channels": p.dvae.latent_channels}
        sections = {"content": p.content_transformer.model_dump(), "refinenet": p.refinenet.model_dump()}
        self.model = build_content(sections | sizes | {"classes": CLASSES}).to(device)
        d = p.diffusion
        self.schedule = linear_schedule(d.timesteps, d.beta_start, d.beta_end).to(device)
        self.adamw = torch.optim.AdamW(self.model.parameters(), fused=True)
        self.ema = EMA(self.model, p.content_transformer.ema_decay)

    def encode(self) -> int:
        """Encode all photos; returns their number, mirrored ones included."""
        encode_latents.main(self.stage)
        return self.case.photos * (2 if self.stage.params.data.flip else 1)

    def sample(self) -> int:
        """Some sampling steps of a batch; returns images x steps."""
        s, n = self.stage.params.sample, self.case.sample_batch
        dvae = DynamicVAE(
            DVAEConfig(32, [1], 1, self.latents.latent_channels, "kl", 1, self.stage.params.grain.factors)
        )
        generator = ImageGenerator(
            dvae, self.ema.model, self.stage.params.diffusion, self.case.sample_steps, s.sampler, s.guidance,
            s.guidance_interval,
        )  # fmt: skip
        maps, labels = self.latents.take_maps(np.arange(n) % self.latents.rows, self.device)
        generator.latents(labels, maps, ImageStreams(range(n), self.device))
        return n * self.case.sample_steps

    def train(self) -> int:
        """Some training steps; returns images seen."""
        p = _changed(self.stage.params, images=self.case.train_steps * self.stage.params.content_transformer.batch_size)
        loss = ContentLoss(self.stage, self.model, self.latents, self.schedule, 1.0)
        run = Run(
            p.content, self.latents.rows, 0, self.device, NoCheckpoints(self.stage.scratch), lambda *_: None,
            "train_content", self.ema,
        )  # fmt: skip
        train([Update("content", self.model, self.adamw, p.content_transformer.learning_rate, loss)], run)
        return p.content_transformer.images


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
    found: dict[str, object] = {"device": str(device)}
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
                found |= {f"{name}, {what}, images/s": rate, f"{name}, {what}, % outside the model": 100 * outside}
    show(found, options.json)


if __name__ == "__main__":
    main()
