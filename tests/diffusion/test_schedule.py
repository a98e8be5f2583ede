"""Schedule and posterior against closed forms computed step by step."""

import numpy as np
import pytest
import torch

from d2it.diffusion.prediction import interpret, posterior_mean, target
from d2it.diffusion.schedule import add_noise, linear_schedule

FULL = linear_schedule(1000, 1e-4, 0.02)


def test_alpha_bar_is_the_running_product_of_one_minus_beta() -> None:
    beta = np.linspace(1e-4, 0.02, 1000)
    product = 1.0
    for t in range(1000):
        product *= 1 - beta[t]
        assert float(FULL.alpha_bar[t]) == pytest.approx(product, rel=1e-10)
    np.testing.assert_allclose(FULL.beta.numpy(), beta, rtol=1e-9)


def test_posterior_is_bayes_rule_for_two_gaussians() -> None:
    """q(z_{t-1} | z_t, z_0) ∝ q(z_t | z_{t-1}) q(z_{t-1} | z_0): precisions add."""
    schedule = FULL.respaced(50)
    z_0, z_t = torch.full((1, 1, 1, 1), 0.7), torch.full((1, 1, 1, 1), -1.3)
    for step in (1, 7, 49):
        before, beta = float(schedule.alpha_bar_prev[step]), float(schedule.beta[step])
        precision = 1 / (1 - before) + (1 - beta) / beta
        mean = (before**0.5 * 0.7 / (1 - before) + (1 - beta) ** 0.5 * -1.3 / beta) / precision
        assert float(schedule.posterior_variance[step]) == pytest.approx(1 / precision, rel=1e-9)
        assert float(posterior_mean(schedule, z_0, z_t, torch.tensor([step]))) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 50, 250, 1000])
def test_respacing_keeps_the_ends_and_the_marginals(steps: int) -> None:
    schedule = FULL.respaced(steps)
    assert schedule.steps == steps == len(schedule.timestep.unique())
    assert int(schedule.timestep[-1]) == 999
    assert steps == 1 or int(schedule.timestep[0]) == 0
    assert torch.equal(schedule.alpha_bar, FULL.alpha_bar[schedule.timestep])
    torch.testing.assert_close(torch.cumprod(1 - schedule.beta, 0), schedule.alpha_bar)


@pytest.mark.parametrize("objective", ["epsilon", "v"])
def test_a_perfect_output_gives_back_z_0_and_noise(objective: str) -> None:
    z_0, noise, index = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 300, 900])
    z_t = add_noise(FULL, z_0, noise, index)
    value = target(FULL, z_0, noise, index, objective=objective)
    predicted = interpret(FULL, torch.cat([value, torch.zeros_like(value)], 1), z_t, index, objective=objective)
    torch.testing.assert_close(predicted.z_0, z_0, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(predicted.noise, noise, atol=2e-4, rtol=1e-4)
