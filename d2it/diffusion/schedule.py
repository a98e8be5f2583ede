"""Linear noise schedule, and its respacing for fewer sampling steps (Ho et al. 2020; Nichol and Dhariwal 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """q(z_t | z_0) = N(√ᾱ_t z_0, (1 - ᾱ_t) I) on some of the timesteps 0..T-1; all tables float64, (steps,).

    `timestep` is what the model is given at each index: 0..T-1 for the full schedule, a subset after respacing.
    """

    timestep: Tensor
    alpha_bar: Tensor

    @property
    def steps(self) -> int:
        """Number of indices."""
        return len(self.timestep)

    @property
    def alpha_bar_prev(self) -> Tensor:
        """ᾱ_{t-1}, 1 at index 0."""
        return torch.cat([self.alpha_bar.new_ones(1), self.alpha_bar[:-1]])

    @property
    def beta(self) -> Tensor:
        """β_t = 1 - ᾱ_t / ᾱ_{t-1}."""
        return 1 - self.alpha_bar / self.alpha_bar_prev

    @property
    def posterior_variance(self) -> Tensor:
        """β̃_t, the variance of q(z_{t-1} | z_t, z_0); 0 at index 0."""
        return self.beta * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)

    @property
    def posterior_log_variance(self) -> Tensor:
        """log β̃_t, with index 1's value at index 0, where the variance is 0."""
        variance = self.posterior_variance
        return torch.cat([variance[1:2] if self.steps > 1 else self.beta[:1], variance[1:]]).log()

    def respaced(self, steps: int) -> "Schedule":
        """`steps` timesteps, evenly spaced from 0 to T-1 (both included, for steps > 1)."""
        spaced = torch.linspace(0, self.steps - 1, steps, dtype=torch.float64).round().long() if steps > 1 else None
        index = spaced if spaced is not None else torch.tensor([self.steps - 1])
        return Schedule(self.timestep[index], self.alpha_bar[index])

    def to(self, device: torch.device) -> "Schedule":
        """The same on a device."""
        return Schedule(self.timestep.to(device), self.alpha_bar.to(device))


def linear_schedule(timesteps: int, beta_start: float, beta_end: float) -> Schedule:
    """β evenly spaced from beta_start to beta_end over T timesteps."""
    beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    return Schedule(torch.arange(timesteps), torch.cumprod(1 - beta, 0))


def at(table: Tensor, index: Tensor) -> Tensor:
    """Values of a float64 table at index (B,), as float32 (B, 1, 1, 1)."""
    return table[index].float()[:, None, None, None]


def add_noise(schedule: Schedule, z_0: Tensor, noise: Tensor, index: Tensor) -> Tensor:
    """z_t = √ᾱ_t z_0 + √(1 - ᾱ_t) ε at index (B,)."""
    return at(schedule.alpha_bar.sqrt(), index) * z_0 + at((1 - schedule.alpha_bar).sqrt(), index) * noise
