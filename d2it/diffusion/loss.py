"""DiT's hybrid loss with learned variance (Nichol and Dhariwal 2021), each position weighted."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from d2it.diffusion.prediction import interpret, posterior_mean, target
from d2it.diffusion.schedule import Schedule, at

HALF_BIN = 1 / 255  # DiT scores z_0 as if it were an 8-bit image


class DiffusionLoss(NamedTuple):
    """One number per image, (B,): the sum to lower, and its parts."""

    loss: Tensor
    mse: Tensor
    bound: Tensor


def diffusion_loss(
    schedule: Schedule, output: Tensor, *, z_0: Tensor, z_t: Tensor, noise: Tensor, index: Tensor, weight: Tensor,
    objective: str,
) -> DiffusionLoss:  # fmt: skip
    """Mean squared error of the noise (or v, or velocity) plus the variational bound, which trains the variance alone.

    A flow has no variance to learn: its bound is 0.

    Args:
        schedule: q(z_t | z_0).
        output: the model's, (B, 2C, h, w).
        z_0: clean latents (B, C, h, w).
        z_t: noised ones.
        noise: ε in z_t.
        index: (B,), of the schedule's timesteps.
        weight: (B, 1, h, w), how much a position counts in the mean over an image.
        objective: what the first half of `output` predicts, 'epsilon', 'v' or 'flow'.
    """
    value, place = output.chunk(2, dim=1)
    mse = weighted_mean((value - target(schedule, z_0, noise, index, objective=objective)) ** 2, weight)
    if objective == "flow":
        return DiffusionLoss(mse, mse, torch.zeros_like(mse))
    frozen = torch.cat([value.detach(), place], dim=1)  # the bound must not teach the mean
    bound = variational_bound(schedule, frozen, z_0=z_0, z_t=z_t, index=index, objective=objective)
    bound = weighted_mean(bound, weight)
    return DiffusionLoss(mse + bound, mse, bound)


def weighted_mean(x: Tensor, weight: Tensor) -> Tensor:
    """Mean over channels and positions of each image, positions weighted: (B, C, h, w) -> (B,)."""
    return (x * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * x.shape[1])


def variational_bound(
    schedule: Schedule, output: Tensor, *, z_0: Tensor, z_t: Tensor, index: Tensor, objective: str
) -> Tensor:
    """KL(q(z_{t-1} | z_t, z_0) || p(z_{t-1} | z_t)), at index 0 the negative log-likelihood of z_0; bits per value."""
    predicted = interpret(schedule, output, z_t, index, objective=objective)
    true_mean = posterior_mean(schedule, z_0, z_t, index)
    mean = posterior_mean(schedule, predicted.z_0, z_t, index)
    kl = gaussian_kl(true_mean, at(schedule.posterior_log_variance, index), mean, predicted.log_variance)
    likelihood = -discretized_log_likelihood(z_0, mean, predicted.log_variance)
    return torch.where((index == 0)[:, None, None, None], likelihood, kl) / math.log(2)


def gaussian_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL between diagonal Gaussians, value by value, nats."""
    difference = log_variance - other_log_variance
    return 0.5 * (difference.exp() - difference - 1 + (mean - other_mean) ** 2 * torch.exp(-other_log_variance))


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log-probability that a Gaussian puts on the 8-bit bin around x, the outer bins reaching to infinity; nats."""
    scale = torch.exp(-0.5 * log_variance)
    upper = _normal_cdf(scale * (x - mean + HALF_BIN))
    lower = _normal_cdf(scale * (x - mean - HALF_BIN))
    inner = torch.where(x > 0.999, 1 - lower, upper - lower)
    return torch.where(x < -0.999, upper, inner).clamp(min=1e-12).log()


def _normal_cdf(x: Tensor) -> Tensor:
    """Tanh approximation of the normal distribution function, as DiT uses it."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
