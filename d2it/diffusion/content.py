"""Diffusion of multi-grained latents: the Dynamic Content Transformer's loss, weighted by codes (paper section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from d2it.data.latents import LatentBatch
from d2it.diffusion.labels import drop_labels
from d2it.diffusion.loss import DiffusionLoss, diffusion_loss
from d2it.diffusion.noise import Draws, multi_grained_noise
from d2it.diffusion.schedule import Schedule, add_noise, flow_schedule, flow_times
from d2it.grain.codes import code_weight
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.routing import Route


def content_loss(
    schedule: Schedule, model: DynamicContentTransformer, *, z_0: Tensor, grain_map: Tensor, labels: Tensor,
    index: Tensor, noise: Tensor, objective: str = "epsilon", weighting: str = "code",
    routes: Sequence[Route] | None = None,
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
        routes: the model's for these grain maps, where the caller has them already.
    """
    z_t = add_noise(schedule, z_0, noise, index)
    output = model(z_t, schedule.timestep[index], labels, grain_map, routes=routes)
    weight = code_weight(grain_map, model.copies)
    if weighting == "position":
        weight = torch.ones_like(weight)
    return diffusion_loss(
        schedule, output, z_0=z_0, z_t=z_t, noise=noise, index=index, weight=weight, objective=objective
    )


def draw_content_loss(
    schedule: Schedule, model: DynamicContentTransformer, batch: LatentBatch, draws: Draws, *, scale: float,
    label_dropout: float = 0.1, objective: str = "epsilon", weighting: str = "code",
    times: str = "logit-normal", routes: Sequence[Route] | None = None,
) -> DiffusionLoss:  # fmt: skip
    """`content_loss` of a batch of encoded photos at random: posterior, timesteps, noise and hidden labels are drawn.

    Args:
        schedule, model, objective, weighting, routes: as in `content_loss`.
        batch: moments of the posterior, grain maps and labels.
        draws: on the batch's device; noise (B, 2, z, h, w), the posterior's and ε before they are copied.
        scale: the DVAE's `latent_scale`.
        label_dropout: share of labels hidden, for classifier-free guidance.
        times: their distribution, with objective 'flow', which needs no schedule; see `flow_times`.
    """
    of_posterior, epsilon = (
        multi_grained_noise(x, batch.grain_map, model.copies) for x in draws.noise.unbind(1)
    )  # (B, z, h, w)
    z_0 = scale * (batch.mean + batch.std * of_posterior)
    if objective == "flow":
        schedule = flow_schedule(flow_times(draws.time, distribution=times))
        index = torch.arange(len(z_0), device=z_0.device)  # each image has a time of its own
    else:
        index = (draws.time * schedule.steps).long()
    labels = drop_labels(batch.labels, label_dropout, model.no_class, draws.label)
    return content_loss(
        schedule, model, z_0=z_0, grain_map=batch.grain_map, labels=labels, index=index, noise=epsilon,
        objective=objective, weighting=weighting, routes=routes,
    )  # fmt: skip
