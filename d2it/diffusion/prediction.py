"""What the content transformer's output means: z_0, ε and the variance of a reverse step."""

from typing import NamedTuple

from torch import Tensor

from d2it.diffusion.schedule import Schedule, at


class Prediction(NamedTuple):
    """Of the clean latent and the noise, (B, C, h, w) each, and the reverse step's log-variance."""

    z_0: Tensor
    noise: Tensor
    log_variance: Tensor


def target(schedule: Schedule, z_0: Tensor, noise: Tensor, index: Tensor, *, objective: str) -> Tensor:
    """What the first half of the output should be: ε, or v = √ᾱ ε - √(1 - ᾱ) z_0."""
    if objective == "epsilon":
        return noise
    return at(schedule.alpha_bar.sqrt(), index) * noise - at((1 - schedule.alpha_bar).sqrt(), index) * z_0


def interpret(schedule: Schedule, output: Tensor, z_t: Tensor, index: Tensor, *, objective: str) -> Prediction:
    """Output (B, 2C, h, w) at index (B,): noise or v in the first half; in the second the learned variance, as the
    place in [-1, 1] between log β̃_t and log β_t (Nichol and Dhariwal 2021, equation 15)."""
    value, place = output.chunk(2, dim=1)
    signal, sigma = at(schedule.alpha_bar.sqrt(), index), at((1 - schedule.alpha_bar).sqrt(), index)
    if objective == "epsilon":
        noise, z_0 = value, (z_t - sigma * value) / signal
    else:
        noise, z_0 = sigma * z_t + signal * value, signal * z_t - sigma * value
    share = (place + 1) / 2
    low, high = at(schedule.posterior_log_variance, index), at(schedule.beta.log(), index)
    return Prediction(z_0, noise, share * high + (1 - share) * low)


def posterior_mean(schedule: Schedule, z_0: Tensor, z_t: Tensor, index: Tensor) -> Tensor:
    """Mean of q(z_{t-1} | z_t, z_0)."""
    alpha_bar, alpha_bar_prev, beta = schedule.alpha_bar, schedule.alpha_bar_prev, schedule.beta
    of_z_0 = beta * alpha_bar_prev.sqrt() / (1 - alpha_bar)
    of_z_t = (1 - alpha_bar_prev) * (1 - beta).sqrt() / (1 - alpha_bar)
    return at(of_z_0, index) * z_0 + at(of_z_t, index) * z_t
