"""Classifier-free guidance, guided and unguided pass in one batch."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from d2it.diffusion.prediction import Prediction, interpret
from d2it.diffusion.samplers import Predict
from d2it.diffusion.schedule import Schedule, noise_level

Model = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # (z_t, t, labels, grain_map) -> output (B, 2C, h, w)


def guided(
    model: Model, schedule: Schedule, *, labels: Tensor, no_class: int, grain_map: Tensor, scale: float,
    interval: Sequence[float], objective: str, channels: int | Literal["all"] = "all",
) -> Predict:  # fmt: skip
    """A `Predict` function: output = unguided + scale (guided - unguided), variance of the guided pass.

    Args:
        model: the content transformer.
        schedule: of sampling.
        labels: (B,).
        no_class: the label that means 'no class'; an unconditional model, 0, is not guided.
        grain_map: (B, h / S, w / S).
        scale: of guidance; at 1 one pass is enough, and one is made.
        interval: [from, to], the share of noise levels t / T that are guided (Kynkäänniemi et al. 2024).
        objective: what the model predicts, 'epsilon', 'v' or 'flow'.
        channels: how many latent channels are guided, from the first; DiT's published numbers guide 3 of 4.
    """

    def predict(z: Tensor, index: Tensor) -> Prediction:
        t = schedule.timestep[index]
        level = noise_level(schedule, index)
        if scale == 1 or no_class == 0 or not interval[0] <= level <= interval[1]:
            return interpret(schedule, model(z, t, labels, grain_map), z, index, objective=objective)
        both = torch.cat([labels, torch.full_like(labels, no_class)])
        output = model(torch.cat([z, z]), torch.cat([t, t]), both, torch.cat([grain_map, grain_map]))
        (value, place), (unguided, _) = (half.chunk(2, dim=1) for half in output.chunk(2))
        moved = unguided + scale * (value - unguided)
        value = moved if channels == "all" else torch.cat([moved[:, :channels], value[:, channels:]], dim=1)
        return interpret(schedule, torch.cat([value, place], dim=1), z, index, objective=objective)

    return predict
