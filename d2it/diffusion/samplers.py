"""Samplers: from noise to latents, with DDPM, DDIM or DPM-Solver++(2M), and with Euler or Heun for a flow.

All of them ask one function for a `Prediction` at (z_t, index) and keep z_t multi-grained, because the prediction, the
noise and every update are constant inside coarse regions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from d2it.diffusion.prediction import Prediction, posterior_mean
from d2it.diffusion.schedule import Schedule, at, flow_schedule

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

    With λ = log(α / σ) and h = λ_next - λ, a step is z ← (σ_next / σ) z + α_next (1 - e^{-h}) D, where D extrapolates
    the last two predictions of z_0. Its last step, to σ = 0, is long where the schedule holds timestep 0: see
    `sampling_schedule`.
    """
    z = noise()
    alpha, sigma = schedule.alpha, schedule.sigma
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


def euler(schedule: Schedule, predict: Predict, noise: Noise) -> Tensor:
    """Euler's method on dz / dt = ε - z_0, from t = 1 to 0, of a flow."""
    z = noise()
    for step in reversed(range(schedule.steps)):
        index = torch.full((len(z),), step, device=z.device)
        z = z - _duration(schedule, step) * _velocity(predict(z, index))
    return z


def heun(schedule: Schedule, predict: Predict, noise: Noise) -> Tensor:
    """Heun's method of order 2 on the same; the last step is Euler's, so N steps take 2 N - 1 predictions."""
    z = noise()
    for step in reversed(range(schedule.steps)):
        index = torch.full((len(z),), step, device=z.device)
        velocity, duration = _velocity(predict(z, index)), _duration(schedule, step)
        if step > 0:
            velocity = (velocity + _velocity(predict(z - duration * velocity, index - 1))) / 2
        z = z - duration * velocity
    return z


def _velocity(prediction: Prediction) -> Tensor:
    return prediction.noise - prediction.z_0


def _duration(schedule: Schedule, step: int) -> float:
    """From index `step` of a flow to the one before it, or to t = 0."""
    return float(schedule.sigma[step] - (schedule.sigma[step - 1] if step > 0 else 0))


SAMPLERS = {"ddpm": ddpm, "ddim": ddim, "dpm-solver++": dpm_solver, "euler": euler, "heun": heun}
OF_FLOW = ("euler", "heun")


def sampling_schedule(training: Schedule, sampler: str, steps: int) -> Schedule:
    """The times at which a sampler asks the model, on the device of the training's schedule.

    A flow's are evenly spaced up to t = 1. DDPM's and DDIM's hold timestep 0. DPM-Solver++'s do not, as in diffusers:
    a last step from timestep 0 to σ = 0 would span as much of log(α / σ) as all others, and cost its second order.
    """
    if sampler in OF_FLOW:
        return flow_schedule(torch.arange(1, steps + 1, device=training.alpha.device).double() / steps)
    return training.respaced(steps, from_zero=sampler != "dpm-solver++")
