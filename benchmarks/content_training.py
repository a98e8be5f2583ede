"""Training of the content transformer as the stage train_content does it, on random latents."""

from typing import Any

import torch

from d2it.data.latents import Latents
from d2it.diffusion.schedule import linear_schedule
from d2it.objectives.content import ContentTraining
from d2it.params.architecture import content_arguments
from d2it.params.sections import Params
from d2it.ranks.ranks import Ranks
from d2it.seeds import TrainingSeeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.loop import train
from d2it.training.run import TrainingRun, Update
from d2it.transformer.content import DynamicContentTransformer

CLASSES = 10


class NoCheckpoints(Checkpoints):
    """Writes none: how often one is written is a param."""

    def save(self, step: int, tensors: dict[str, Any], records: dict[str, Any]) -> None:
        """Nothing."""


def with_content(params: Params, *, micro_batch: int | None = None, **changes: Any) -> Params:
    """The same params, but for some of the section `content_transformer`, and its micro-batch."""
    content = params.content_transformer.model_copy(update=changes)
    own = {} if micro_batch is None else {"content_transformer": micro_batch}
    return params.model_copy(
        update={"content_transformer": content, "micro_batch": params.micro_batch.model_copy(update=own)}
    )


class Trained:
    """Model, averaged weights and optimiser."""

    def __init__(self, params: Params, latents: Latents, device: torch.device) -> None:
        self.params, self.latents, self.device = params, latents, device
        torch.manual_seed(0)
        self.model = DynamicContentTransformer(**content_arguments(params, CLASSES)).to(device)
        schedule = linear_schedule(**params.diffusion.schedule).to(device)
        self.training = ContentTraining(self.model, latents, params, schedule=schedule, scale=1.0)
        self.adamw = torch.optim.AdamW(self.model.parameters(), fused=True)
        self.ema = EMA(self.model, params.content_transformer.ema_decay)

    def train(self, steps: int, checkpoints: Checkpoints, ranks: Ranks) -> int:
        """Some steps of the real loop; returns images seen."""
        params = with_content(self.params, images=steps * self.params.content_transformer.batch_size)
        content = params.content_transformer
        update = Update(
            name="content", model=self.model, optimizer=self.adamw, learning_rate=content.learning_rate,
            loss=self.training.loss, read=self.training.read,
        )  # fmt: skip
        run = TrainingRun(
            params=content, micro_batch=params.micro_batch.content_transformer, rows=self.latents.rows,
            seeds=TrainingSeeds(0, 0, 0), device=self.device, checkpoints=checkpoints, report=lambda *_: None,
            label="train_content", ema=self.ema, ranks=ranks,
        )  # fmt: skip
        train([update], run)
        return content.images
