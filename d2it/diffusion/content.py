"""Diffusion of multi-grained latents: the Dynamic Content Transformer's loss, weighted by codes (paper section 3.2)."""

import torch
from torch import Tensor

from d2it.data.latents import LatentBatch
from d2it.diffusion.labels import drop_labels
from d2it.diffusion.loss import DiffusionLoss, diffusion_loss
from d2it.diffusion.noise import multi_grained_noise
from d2it.diffusion.schedule import Schedule, add_noise, draw_times, flow_schedule
from d2it.grain.codes import code_weight
from d2it.transformer.content import DynamicContentTransformer


def content_loss(
    schedule: Schedule, model: DynamicContentTransformer, *, z_0: Tensor, grain_map: Tensor, labels: Tensor,
    index: Tensor, noise: Tensor, objective: str = "epsilon", weighting: str = "code",
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
        objective: what the model predicts, 'epsilon' (paper), 'v', or 'flow', the velocity of a straight path.
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


def draw_content_loss(
    schedule: Schedule, model: DynamicContentTransformer, batch: LatentBatch, generator: torch.Generator,
    *, scale: float,
    label_dropout: float = 0.1, objective: str = "epsilon", weighting: str = "code",
    flow_times: str = "logit-normal",
) -> DiffusionLoss:  # fmt: skip
    """`content_loss` of a batch of encoded photos at random: posterior, timesteps, noise and hidden labels are drawn.

    Args:
        schedule, model, objective, weighting: as in `content_loss`.
        batch: moments of the posterior, grain maps and labels.
        generator: on the batch's device.
        scale: the DVAE's `latent_scale`.
        label_dropout: share of labels hidden, for classifier-free guidance.
        flow_times: distribution of the times, with objective 'flow', which needs no schedule; see `draw_times`.
    """

    def noise() -> Tensor:
        independent = torch.randn(batch.mean.shape, generator=generator, device=batch.mean.device)
        return multi_grained_noise(independent, batch.grain_map, model.copies)

    z_0 = scale * (batch.mean + batch.std * noise())
    if objective == "flow":
        schedule = flow_schedule(draw_times(len(z_0), generator, distribution=flow_times))
        index = torch.arange(len(z_0), device=z_0.device)  # each image has a time of its own
    else:
        index = torch.randint(schedule.steps, (len(z_0),), generator=generator, device=z_0.device)
    epsilon = noise()
    labels = drop_labels(batch.labels, label_dropout, model.no_class, generator)
    return content_loss(
        schedule, model, z_0=z_0, grain_map=batch.grain_map, labels=labels, index=index, noise=epsilon,
        objective=objective, weighting=weighting,
    )  # fmt: skip
