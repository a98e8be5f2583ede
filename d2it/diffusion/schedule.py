"""Noise schedules: DDPM's linear one with its respacing (Ho et al. 2020; Nichol and Dhariwal 2021), and straight paths
(flow matching; Lipman et al. 2023, Liu et al. 2023)."""

from dataclasses import dataclass

import torch
from torch import Tensor

FLOW_TIMESTEPS = 1000  # of the time t in [0, 1]: what the model is given is 1000 t, as its sinusoids are made for


@dataclass(frozen=True)
class Schedule:
    """q(z_t | z_0) = N(α_t z_0, σ_t² I) at some times, the least noisy first; all tables (steps,), α and σ float64.

    `timestep` is what the model is given at each index: 0..T-1 for DDPM's full schedule, a subset after respacing.
    """

    timestep: Tensor
    alpha: Tensor
    sigma: Tensor

    @property
    def steps(self) -> int:
        """Number of indices."""
        return len(self.timestep)

    @property
    def alpha_bar(self) -> Tensor:
        """ᾱ_t = α_t², of DDPM, where α_t² + σ_t² = 1."""
        return self.alpha**2

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

    def at(self, index: Tensor) -> "Schedule":
        """The times of `index` alone, (n,)."""
        return Schedule(self.timestep[index], self.alpha[index], self.sigma[index])

    def respaced(self, steps: int, *, from_zero: bool = True) -> "Schedule":
        """`steps` timesteps, evenly spaced from 0 to T-1; T-1 is among them, and 0 unless there is one step alone.

        With `from_zero=False` they are the upper `steps` of `steps` + 1, so that 0 is left out, as diffusers spaces
        DPM-Solver++.
        """
        extra = 0 if from_zero and steps > 1 else 1
        spaced = torch.linspace(0, self.steps - 1, steps + extra, dtype=torch.float64)[extra:]
        return self.at(spaced.round().long().to(self.timestep.device))

    def to(self, device: torch.device) -> "Schedule":
        """The same on a device."""
        return Schedule(self.timestep.to(device), self.alpha.to(device), self.sigma.to(device))


def linear_schedule(timesteps: int, beta_start: float, beta_end: float) -> Schedule:
    """DDPM's: β evenly spaced from beta_start to beta_end over T timesteps, ᾱ_t = Π (1 - β), α = √ᾱ, σ = √(1 - ᾱ)."""
    beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    alpha_bar = torch.cumprod(1 - beta, 0)
    return Schedule(torch.arange(timesteps), alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


def flow_schedule(times: Tensor) -> Schedule:
    """The straight path from z_0 to noise at times (n,) in (0, 1]: α = 1 - t, σ = t."""
    t = times.double()
    return Schedule(FLOW_TIMESTEPS * t, 1 - t, t)


def flow_times(place: Tensor, *, distribution: str) -> Tensor:
    """Times (B,) float32 in (0, 1) that a flow's training sees, from draws `place` (B,) of U[0, 1).

    'uniform', or 'logit-normal', the sigmoid of N(0, 1): medium noise more often (Esser et al. 2024).
    """
    times = place if distribution == "uniform" else torch.special.ndtri(place).sigmoid()
    return times.clamp(1e-5, 1 - 1e-5)


def noise_level(schedule: Schedule, index: Tensor) -> float:
    """t / T, from 0 to 1, at index (B,), the same for all."""
    return float(schedule.timestep[index[0]]) / max(1.0, float(schedule.timestep[-1]))


def at(table: Tensor, index: Tensor) -> Tensor:
    """Values of a float64 table at index (B,), as float32 (B, 1, 1, 1)."""
    return table[index].float()[:, None, None, None]


def add_noise(schedule: Schedule, z_0: Tensor, noise: Tensor, index: Tensor) -> Tensor:
    """z_t = α_t z_0 + σ_t ε at index (B,)."""
    return at(schedule.alpha, index) * z_0 + at(schedule.sigma, index) * noise
