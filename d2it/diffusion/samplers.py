"""Samplers: from noise to latents, with DDPM, DDIM or DPM-Solver++(2M).

All three ask one function for a `Prediction` at (z_t, index) and keep z_t multi-grained, because the prediction, the
noise and every update are constant inside coarse regions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from d2it.diffusion.prediction import Prediction, posterior_mean
from d2it.diffusion.schedule import Schedule, at

Predict = Callable[[Tensor, Tensor], Prediction]  # (z_t (B, C, h, w), index (B,)) -> Prediction
Noise = Callable[[], Tensor]  # fresh multi-grained noise, (B, C, h, w)


def ddpm(schedule: Schedule, predict: Predict, noise: Noise) -> Tensor:
    """Ancestral sampling with the learned variance (Ho et al. 2020); the last step adds no noise."""
    z = noise()
    for step in reversed(range(schedule.steps)):
        index = torch.full((len(z),), step, device=z.device)
        predicted = predict(z, index)
        z = posterior_mean(schedule, predicted.z_0, z, index)
        if step > 0:
            z = z + torch.exp(0.5 * predicted.log_variance) * noise()
    return z


def ddim(schedule: Schedule, predict: Predict, noise: Noise) -> Tensor:
    """Deterministic DDIM, η = 0 (Song et al. 2021)."""
    z = noise()
    alpha_bar_prev = schedule.alpha_bar_prev
    for step in reversed(range(schedule.steps)):
        index = torch.full((len(z),), step, device=z.device)
        predicted = predict(z, index)
        z = at(alpha_bar_prev.sqrt(), index) * predicted.z_0
        z = z + at((1 - alpha_bar_prev).sqrt(), index) * predicted.noise
    return z


def dpm_solver(schedule: Schedule, predict: Predict, noise: Noise) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2); the first and the last step are of first order.

    With λ = log(√ᾱ / √(1 - ᾱ)) and h = λ_next - λ, a step is z ← (σ_next / σ) z + α_next (1 - e^{-h}) D, where D
    extrapolates the last two predictions of z_0.
    """
    z = noise()
    alpha, sigma = schedule.alpha_bar.sqrt(), (1 - schedule.alpha_bar).sqrt()
    log_snr = (alpha / sigma).log()
    previous: tuple[Tensor, Tensor] | None = None  # z_0 and λ of the step before
    for step in reversed(range(schedule.steps)):
        index = torch.full((len(z),), step, device=z.device)
        z_0 = predict(z, index).z_0
        if step == 0:
            return z_0  # λ_next = ∞: the first-order step ends in the prediction itself
        h = log_snr[step - 1] - log_snr[step]
        direction = z_0
        if previous is not None:
            ratio = (log_snr[step] - previous[1]) / h
            direction = z_0 + ((z_0 - previous[0]).double() / (2 * ratio)).float()
        z = (sigma[step - 1] / sigma[step]).float() * z
        z = z - (alpha[step - 1] * torch.expm1(-h)).float() * direction
        previous = (z_0, log_snr[step])
    return z


SAMPLERS = {"ddpm": ddpm, "ddim": ddim, "dpm-solver++": dpm_solver}
