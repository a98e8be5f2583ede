"""Diffusion of grain maps: loss and sampler of the Dynamic Grain Transformer.

Our reading of the paper; see transformer/grain.py.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from d2it.diffusion.labels import drop_labels
from d2it.diffusion.noise import Draws, ImageStreams
from d2it.diffusion.prediction import Prediction
from d2it.diffusion.samplers import ddpm
from d2it.diffusion.schedule import Schedule, add_noise, at
from d2it.finite import require_finite
from d2it.transformer.grain import DynamicGrainTransformer, map_to_values


def grain_loss(
    schedule: Schedule, model: DynamicGrainTransformer, *, grain_map: Tensor, labels: Tensor, index: Tensor,
    noise: Tensor,
) -> Tensor:  # fmt: skip
    """Cross entropy of the clean maps (B, h, w) at index (B,), noise (B, 1, h, w): (B,), nats per region."""
    noisy = add_noise(schedule, map_to_values(grain_map, model.grains), noise, index)
    logits = model(noisy, schedule.timestep[index], labels)
    return F.cross_entropy(logits, grain_map.long(), reduction="none").mean((1, 2))


def draw_grain_loss(
    schedule: Schedule, model: DynamicGrainTransformer, grain_map: Tensor, labels: Tensor, *, draws: Draws,
    label_dropout: float = 0.1,
) -> Tensor:  # fmt: skip
    """`grain_loss` at random: timesteps, noise and hidden labels are as drawn, noise of shape (B, 1, h, w)."""
    index = (draws.time * schedule.steps).long()
    labels = drop_labels(labels, label_dropout, model.no_class, draws.label)
    return grain_loss(schedule, model, grain_map=grain_map, labels=labels, index=index, noise=draws.noise)


def sample_grain_maps(
    schedule: Schedule, model: DynamicGrainTransformer, labels: Tensor, streams: ImageStreams, *,
    guidance: float = 1.0, fine_ratio: float | None = None,
) -> Tensor:  # fmt: skip
    """DDPM with the softmax's mean as x_0; at the end each region's grain is drawn from the last softmax.

    Classifier-free guidance acts on the logits: unguided + guidance (guided - unguided); 1 = none. With `fine_ratio`,
    for two grains, nothing is drawn at the end: in each map that share of regions is fine which most likely is so.

    Returns:
        (B, h, w) uint8 grain maps, one for each label (B,).
    """
    logits = torch.empty(0)
    shape = (1, *model.region_grid)

    def predict(x: Tensor, index: Tensor) -> Prediction:
        nonlocal logits
        logits = _guided_logits(model, x, schedule.timestep[index], labels, guidance=guidance)
        return Prediction(model.mean(logits), x, at(schedule.posterior_log_variance, index))

    ddpm(schedule, predict, lambda: streams.normal(shape))
    require_finite(logits, "the grain transformer's logits")
    place = streams.uniform(shape)  # in any case: what is drawn afterwards does not depend on the map
    if fine_ratio is not None:
        return _most_likely_fine(logits, fine_ratio)
    cumulative = logits.softmax(1).cumsum(1)  # (B, k, h, w)
    drawn = (place > cumulative[:, :-1]).sum(1)  # (B, h, w)
    return drawn.to(torch.uint8)


def _most_likely_fine(logits: Tensor, fine_ratio: float) -> Tensor:
    B, grains, h, w = logits.shape
    assert grains == 2
    chosen = (logits[:, 1] - logits[:, 0]).flatten(1).topk(round(fine_ratio * h * w), dim=1).indices
    maps = torch.zeros(B, h * w, dtype=torch.uint8, device=logits.device)
    return maps.scatter_(1, chosen, 1).view(B, h, w)


def _guided_logits(model: DynamicGrainTransformer, x: Tensor, t: Tensor, labels: Tensor, *, guidance: float) -> Tensor:
    if guidance == 1 or model.no_class == 0:
        logits: Tensor = model(x, t, labels)
        return logits
    both = torch.cat([labels, torch.full_like(labels, model.no_class)])
    guided, unguided = model(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
    return torch.lerp(unguided, guided, guidance)
