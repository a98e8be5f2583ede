"""The multi-grained loss against diffusers, closed forms, and the meaning of its weights."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from d2it.diffusion.loss import (
    diffusion_loss,
    discretized_log_likelihood,
    gaussian_kl,
    variational_bound,
    weighted_mean,
)
from d2it.diffusion.noise import multi_grained_noise
from d2it.diffusion.schedule import add_noise, linear_schedule
from d2it.grain.codes import code_weight, codes_once

FULL = linear_schedule(1000, 1e-4, 0.02)


def test_gaussian_kl_is_the_closed_form() -> None:
    mean, log_variance, other, other_log_variance = torch.randn(4, 5, 5).unbind(0)
    expected = kl_divergence(
        Normal(mean, torch.exp(0.5 * log_variance)), Normal(other, torch.exp(0.5 * other_log_variance))
    )
    torch.testing.assert_close(
        gaussian_kl(mean, log_variance, other, other_log_variance), expected, rtol=1e-4, atol=1e-5
    )


def test_discretized_likelihood_is_the_mass_of_the_bin_and_sums_to_one() -> None:
    levels = torch.arange(256) / 127.5 - 1
    mean, log_variance = torch.tensor(0.1), torch.tensor(-4.0)
    mass = discretized_log_likelihood(levels, mean, log_variance).exp()
    normal = Normal(mean, torch.exp(0.5 * log_variance))
    inner = slice(1, 255)
    expected = normal.cdf(levels + 1 / 255) - normal.cdf(levels - 1 / 255)
    assert float(mass.sum()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(mass[inner], expected[inner], atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("index", [1, 2, 10, 500, 999])
def test_the_bound_is_the_kl_between_the_true_and_the_learned_reverse_step(index: int) -> None:
    """Posterior and learned-range variance from diffusers' DDPM scheduler, the KL from torch."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(1000, 1e-4, 0.02, "linear", variance_type="learned_range", clip_sample=False)
    scheduler.alphas_cumprod, scheduler.betas = FULL.alpha_bar, FULL.beta  # its float32 tables are coarse near t = 0
    g = torch.Generator().manual_seed(index)
    z_0, noise, error = (torch.randn(2, 4, 4, 4, generator=g) for _ in range(3))
    epsilon = noise + 0.3 * error  # with noise that is wrong altogether the bound is 10 bits, and float32 shows
    place = torch.rand(2, 4, 4, 4, generator=g) * 2 - 1
    at = torch.full((2,), index)
    z_t = add_noise(FULL, z_0, noise, at)
    alpha_bar = scheduler.alphas_cumprod
    before, now = alpha_bar[index - 1], alpha_bar[index]
    beta = 1 - now / before

    def mean(clean: torch.Tensor) -> torch.Tensor:
        return (before.sqrt() * beta * clean + (now / before).sqrt() * (1 - before) * z_t) / (1 - now)

    predicted = (z_t.double() - (1 - now).sqrt() * epsilon) / now.sqrt()
    log_variance = scheduler._get_variance(index, predicted_variance=place.double())
    true_variance = beta * (1 - before) / (1 - now)
    expected = kl_divergence(
        Normal(mean(z_0.double()), true_variance.sqrt()),
        Normal(mean(predicted), torch.exp(0.5 * log_variance)),
    ) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    bound = variational_bound(FULL, torch.cat([epsilon, place], 1), z_0=z_0, z_t=z_t, index=at, objective="epsilon")
    torch.testing.assert_close(bound, expected.float(), atol=1e-5, rtol=1e-5)


def test_the_bound_trains_the_variance_and_never_the_mean() -> None:
    g = torch.Generator().manual_seed(0)
    output = torch.randn(4, 8, 4, 4, generator=g).requires_grad_()
    z_0, noise = (torch.randn(4, 4, 4, 4, generator=g) for _ in range(2))
    index = torch.tensor([0, 3, 500, 999])  # at 0 the likelihood has a floor, which some draws meet: hence the seed
    z_t = add_noise(FULL, z_0, noise, index)
    weight = torch.ones(4, 1, 4, 4)
    losses = diffusion_loss(
        FULL, output, z_0=z_0, z_t=z_t, noise=noise, index=index, weight=weight, objective="epsilon"
    )
    losses.bound.sum().backward()
    assert output.grad is not None
    assert float(output.grad[:, :4].abs().max()) == 0
    assert float(output.grad[:, 4:].abs().min()) > 0


def test_a_coarse_region_counts_once_in_the_dynamic_grain_loss() -> None:
    copies = [2, 1]
    grain_map = torch.randint(0, 2, (5, 4, 4))
    error = multi_grained_noise(torch.randn(5, 4, 8, 8), grain_map, copies)
    for i in range(5):
        once = codes_once(error[i : i + 1], grain_map[i : i + 1], copies)
        mean = weighted_mean(error[i : i + 1], code_weight(grain_map[i : i + 1], copies))
        assert float(mean) == pytest.approx(float(once.mean()), abs=1e-5)
