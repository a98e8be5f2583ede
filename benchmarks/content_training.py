"""Training of the content transformer as the stage train_content does it, on random latents."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2it.data.latents import Latents, LatentWriter, code_moments
from d2it.diffusion.content import draw_content_loss
from d2it.diffusion.schedule import linear_schedule
from d2it.grain.codes import copies_per_side
from d2it.params.architecture import content_arguments
from d2it.params.sections import Params
from d2it.ranks.ranks import Ranks
from d2it.seeds import TrainingSeeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.loop import MicroBatch, TrainingRun, Update, train
from d2it.transformer.content import DynamicContentTransformer

CLASSES = 10


class NoCheckpoints(Checkpoints):
    """Writes none: how often one is written is a param."""

    def save(self, step: int, tensors: dict[str, Any], records: dict[str, Any]) -> None:
        """Nothing."""


def with_content(params: Params, **changes: Any) -> Params:
    """The same params, but for some of the section `content_transformer`."""
    content = params.content_transformer.model_copy(update=changes)
    return params.model_copy(update={"content_transformer": content})


def write_latents(folder: Path, params: Params, rows: int) -> None:
    """Random latents at the params' sizes, half of the regions fine."""
    rng, grid, regions = np.random.default_rng(0), params.latent_grid, params.region_grid
    channels = params.dvae.latent_channels
    mean, std = torch.from_numpy(rng.standard_normal((2, rows, channels, grid, grid), np.float32))
    maps = rng.integers(0, 2, (rows, regions, regions), np.uint8)
    copies = copies_per_side(params.grain.factors)
    moments = code_moments(mean, std.abs(), torch.from_numpy(maps), copies)
    with LatentWriter(folder, rows=rows, latent_channels=channels, region_grid=regions, copies=copies) as writer:
        writer.append(moments, maps, np.arange(rows, dtype=np.int64) % CLASSES)


class ContentTraining:
    """Model, averaged weights, optimiser and loss."""

    def __init__(self, params: Params, latents: Latents, device: torch.device) -> None:
        self.params, self.latents, self.device = params, latents, device
        torch.manual_seed(0)
        self.model = DynamicContentTransformer(**content_arguments(params, CLASSES)).to(device)
        self.schedule = linear_schedule(**params.diffusion.schedule).to(device)
        self.adamw = torch.optim.AdamW(self.model.parameters(), fused=True)
        self.ema = EMA(self.model, params.content_transformer.ema_decay)

    def loss(self, micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Of a micro-batch, as in the stage."""
        losses = draw_content_loss(
            self.schedule, self.model, self.latents.spread(micro.data, self.device), micro.generator, scale=1.0,
            label_dropout=self.params.content_transformer.label_dropout, objective=self.params.diffusion.objective,
            weighting=self.params.content_transformer.loss_weighting,
        )  # fmt: skip
        means = {name: values.mean() for name, values in losses._asdict().items()}
        return means["loss"], means

    def train(self, steps: int, checkpoints: Checkpoints, ranks: Ranks) -> int:
        """Some steps of the real loop; returns images seen."""
        params = with_content(self.params, images=steps * self.params.content_transformer.batch_size)
        content = params.content_transformer
        update = Update(
            name="content", model=self.model, optimizer=self.adamw, learning_rate=content.learning_rate, loss=self.loss,
            read=partial(self.latents.read, pinned=self.device.type == "cuda"),
        )  # fmt: skip
        run = TrainingRun(
            params=content, rows=self.latents.rows, seeds=TrainingSeeds(0, 0, 0), device=self.device,
            checkpoints=checkpoints, report=lambda *_: None, label="train_content", ema=self.ema, ranks=ranks,
        )  # fmt: skip
        train([update], run)
        return content.images
