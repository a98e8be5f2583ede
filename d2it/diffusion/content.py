"""Diffusion of multi-grained latents: the Dynamic Content Transformer's loss, weighted by codes (paper section 3.2)."""

from typing import Protocol

import torch
from torch import Tensor

from d2it.diffusion.loss import DiffusionLoss, diffusion_loss
from d2it.diffusion.schedule import Schedule, add_noise
from d2it.grain.codes import code_weight


class ContentModel(Protocol):
    """Noise (or v) and variance, (B, 2C, h, w), given z_t."""

    copies: list[int]

    def __call__(self, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor) -> Tensor: ...


def content_loss(
    schedule: Schedule, model: ContentModel, *, z_0: Tensor, grain_map: Tensor, labels: Tensor, index: Tensor,
    noise: Tensor, objective: str = "epsilon", weighting: str = "code",
) -> DiffusionLoss:  # fmt: skip
    """The multi-grained loss: the hybrid loss of a DiT as a mean over an image's codes.

    Args:
        schedule: q(z_t | z_0).
        model: the content transformer.
        z_0: latents of unit variance (B, C, h, w), constant inside coarse regions.
        grain_map: (B, h / S, w / S), 0 = coarsest.
        labels: (B,).
        index: (B,), of the schedule's timesteps.
        noise: multi-grained ε (B, C, h, w): one draw per code, copied inside coarse regions.
        objective: what the model predicts, 'epsilon' (paper) or 'v'.
        weighting: 'code', a coarse region counts once (our reading of the dynamic grain loss); 'position', once for
            each copy.
    """
    z_t = add_noise(schedule, z_0, noise, index)
    output = model(z_t, schedule.timestep[index], labels, grain_map)
    weight = code_weight(grain_map, model.copies)
    if weighting == "position":
        weight = torch.ones_like(weight)
    return diffusion_loss(
        schedule, output, z_0=z_0, z_t=z_t, noise=noise, index=index, weight=weight, objective=objective
    )
