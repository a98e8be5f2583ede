"""Training of the Dynamic Grain Transformer: what its loss reads of grain maps, and draws for each."""

from typing import NamedTuple

import torch
from torch import Tensor

from d2it.data.latents import Latents
from d2it.diffusion.grain import draw_grain_loss
from d2it.diffusion.noise import Draws, draw
from d2it.diffusion.schedule import Schedule
from d2it.training.run import MicroBatch, Numbers
from d2it.transformer.grain import DynamicGrainTransformer


class GrainData(NamedTuple):
    """A micro-batch as it is read ahead of time, on the CPU, pinned where a GPU fetches it."""

    grain_map: Tensor  # (B, h, w) uint8
    labels: Tensor  # (B,)
    draws: Draws


class GrainTraining:
    """Loss of the grain transformer, and what it reads."""

    def __init__(
        self, model: DynamicGrainTransformer, latents: Latents, *, schedule: Schedule, label_dropout: float
    ) -> None:
        """`schedule` on the model's device."""
        self.model, self.latents, self.schedule, self.label_dropout = model, latents, schedule, label_dropout
        self._device = next(model.parameters()).device

    def read(self, micro: MicroBatch) -> GrainData:
        """Grain maps, labels and draws; in other threads."""
        maps, labels = self.latents.take_maps(micro.rows, torch.device("cpu"))
        draws = draw(micro.streams(), (1, *maps.shape[1:]))
        if self._device.type == "cuda":
            return GrainData(maps.pin_memory(), labels.pin_memory(), draws.pinned())
        return GrainData(maps, labels, draws)

    def loss(self, _: MicroBatch, data: GrainData) -> tuple[Tensor, Numbers]:
        """Mean cross entropy over the micro-batch, nats per region."""
        maps, labels = (x.to(self._device, non_blocking=True) for x in (data.grain_map, data.labels))
        losses = draw_grain_loss(
            self.schedule, self.model, maps, labels, draws=data.draws.to(self._device),
            label_dropout=self.label_dropout,
        )  # fmt: skip
        entropy = losses.mean()
        return entropy, {"cross_entropy": entropy}
