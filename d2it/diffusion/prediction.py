"""What the content transformer's output means: z_0, ε and the variance of a reverse step."""

from typing import NamedTuple

import torch
from torch import Tensor

from d2it.diffusion.schedule import Schedule, at


class Prediction(NamedTuple):
    """Of the clean latent and the noise, (B, C, h, w) each, and the reverse step's log-variance (of a flow: 0)."""

    z_0: Tensor
    noise: Tensor
    log_variance: Tensor


def target(schedule: Schedule, z_0: Tensor, noise: Tensor, index: Tensor, *, objective: str) -> Tensor:
    """What the first half of the output should be: ε; v = α ε - σ z_0; or the velocity of a straight path, ε - z_0."""
    if objective == "epsilon":
        return noise
    if objective == "flow":
        return noise - z_0
    return at(schedule.alpha, index) * noise - at(schedule.sigma, index) * z_0


def interpret(schedule: Schedule, output: Tensor, z_t: Tensor, index: Tensor, *, objective: str) -> Prediction:
    """Output (B, 2C, h, w) at index (B,): noise, v or velocity in the first half; in the second the learned variance,
    as the place in [-1, 1] between log β̃_t and log β_t (Nichol and Dhariwal 2021, equation 15), which a flow ignores,
    as SiT does."""
    value, place = output.chunk(2, dim=1)
    alpha, sigma = at(schedule.alpha, index), at(schedule.sigma, index)
    if objective == "flow":  # z_t = (1 - t) z_0 + t ε
        return Prediction(z_t - sigma * value, z_t + alpha * value, torch.zeros_like(place))
    if objective == "epsilon":
        noise, z_0 = value, (z_t - sigma * value) / alpha
    else:
        noise, z_0 = sigma * z_t + alpha * value, alpha * z_t - sigma * value
    share = (place + 1) / 2
    low, high = at(schedule.posterior_log_variance, index), at(schedule.beta.log(), index)
    return Prediction(z_0, noise, share * high + (1 - share) * low)


def posterior_mean(schedule: Schedule, z_0: Tensor, z_t: Tensor, index: Tensor) -> Tensor:
    """Mean of q(z_{t-1} | z_t, z_0)."""
    alpha_bar, alpha_bar_prev, beta = schedule.alpha_bar, schedule.alpha_bar_prev, schedule.beta
    of_z_0 = beta * alpha_bar_prev.sqrt() / (1 - alpha_bar)
    of_z_t = (1 - alpha_bar_prev) * (1 - beta).sqrt() / (1 - alpha_bar)
    return at(of_z_0, index) * z_0 + at(of_z_t, index) * z_t
