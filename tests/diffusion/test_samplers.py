"""Samplers against oracles: the true noise gives back z_0, and diffusers' schedulers give the same trajectory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from d2it.diffusion.guidance import guided
from d2it.diffusion.noise import ImageStreams, multi_grained_noise
from d2it.diffusion.prediction import Prediction, interpret
from d2it.diffusion.samplers import OF_FLOW, SAMPLERS, ddim, ddpm, dpm_solver, euler, heun, sampling_schedule
from d2it.diffusion.schedule import Schedule, add_noise, at, flow_schedule, linear_schedule
from d2it.grain.codes import copy_codes

FULL = linear_schedule(1000, 1e-4, 0.02)
SHAPE = (2, 4, 4, 4)
KINDS = {"epsilon": "epsilon", "v": "v_prediction"}  # diffusers' names


def oracle(schedule: Schedule, z_0: Tensor) -> Callable[[Tensor, Tensor], Prediction]:
    """Knows z_0, and so the noise of any z_t."""

    def predict(z: Tensor, index: Tensor) -> Prediction:
        noise = (z - at(schedule.alpha, index) * z_0) / at(schedule.sigma, index)
        return Prediction(z_0, noise, torch.full_like(z, -10.0))

    return predict


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 10, 250])
def test_an_oracle_for_the_noise_gives_back_z_0(sampler: str, steps: int) -> None:
    z_0 = torch.randn(SHAPE)
    schedule = sampling_schedule(FULL, sampler, steps)
    sample = SAMPLERS[sampler](schedule, oracle(schedule, z_0), lambda: torch.randn(SHAPE))
    # DDIM keeps the noise that is left at the first timestep: √ᾱ_0 z_0 + √(1 - ᾱ_0) ε is cleaned by its last step
    torch.testing.assert_close(sample, z_0, atol=1e-3, rtol=1e-3)


def toy_model(z: Tensor, t: Tensor) -> Tensor:
    """A smooth function of z_t and t, in place of a trained model: (B, 2C, h, w).

    Noise as of latents of unit variance, and a little more, so that trajectories stay as small as a real model's.
    """
    phase = t.float()[:, None, None, None] / 1000
    alpha, sigma = at(FULL.alpha, t), at(FULL.sigma, t)
    return torch.cat([sigma * z + 0.3 * alpha * torch.tanh(z + phase), torch.sin(3 * z - phase)], 1)


def predict_with_toy(schedule: Schedule, objective: str = "epsilon") -> Callable[[Tensor, Tensor], Prediction]:
    return lambda z, index: interpret(schedule, toy_model(z, schedule.timestep[index]), z, index, objective=objective)


@pytest.mark.parametrize("objective", ["epsilon", "v"])
def test_ddpm_equals_diffusers(objective: str) -> None:
    from diffusers import DDPMScheduler

    schedule = FULL.respaced(20)
    theirs = DDPMScheduler(
        1000, 1e-4, 0.02, "linear", variance_type="learned_range", clip_sample=False, prediction_type=KINDS[objective]
    )
    theirs.set_timesteps(timesteps=schedule.timestep.flip(0).tolist())
    g, h = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    ours = ddpm(schedule, predict_with_toy(schedule, objective), lambda: torch.randn(SHAPE, generator=g))
    z = torch.randn(SHAPE, generator=h)
    for t in theirs.timesteps:
        z = theirs.step(toy_model(z, t.expand(2)), int(t), z, generator=h).prev_sample
    torch.testing.assert_close(ours, z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("objective", ["epsilon", "v"])
def test_ddim_equals_diffusers(objective: str) -> None:
    """On evenly spaced timesteps with DDIM's own stride of 1000 / 20."""
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(
        1000, 1e-4, 0.02, "linear", clip_sample=False, set_alpha_to_one=True, prediction_type=KINDS[objective]
    )
    theirs.set_timesteps(20)  # 950, 900, ..., 0
    index = theirs.timesteps.flip(0)
    schedule = FULL.at(index)
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    ours = ddim(schedule, predict_with_toy(schedule, objective), lambda: start)
    z = start
    for t in theirs.timesteps:
        z = theirs.step(toy_model(z, t.expand(2))[:, :4], int(t), z, eta=0.0).prev_sample
    torch.testing.assert_close(ours, z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [20, 50])  # with few steps diffusers' own float32 tables are 3e-5 off
@pytest.mark.parametrize("objective", ["epsilon", "v"])
def test_dpm_solver_equals_diffusers_with_its_own_defaults(objective: str, steps: int) -> None:
    from diffusers import DPMSolverMultistepScheduler

    theirs = DPMSolverMultistepScheduler(1000, 1e-4, 0.02, "linear", prediction_type=KINDS[objective])
    schedule = sampling_schedule(FULL, "dpm-solver++", steps)
    theirs.set_timesteps(steps)
    assert theirs.timesteps.tolist() == schedule.timestep.flip(0).tolist()
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    ours = dpm_solver(schedule, predict_with_toy(schedule, objective), lambda: start)
    z = start
    for t in theirs.timesteps:
        z = theirs.step(toy_model(z, t.expand(2))[:, :4], t, z).prev_sample
    torch.testing.assert_close(ours, z, atol=1e-5, rtol=1e-5)


def flow_model(z: Tensor, t: Tensor) -> Tensor:
    """A smooth velocity, (B, 2C, h, w)."""
    phase = t.float()[:, None, None, None] / 1000
    return torch.cat([torch.tanh(z + phase) - 0.2 * z, torch.sin(3 * z)], 1)


def predict_velocity(schedule: Schedule) -> Callable[[Tensor, Tensor], Prediction]:
    return lambda z, index: interpret(schedule, flow_model(z, schedule.timestep[index]), z, index, objective="flow")


def test_euler_equals_diffusers() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    schedule = sampling_schedule(FULL, "euler", 20)
    theirs = FlowMatchEulerDiscreteScheduler(1000)
    theirs.set_timesteps(sigmas=schedule.sigma.flip(0).tolist())
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    z = start
    for t in theirs.timesteps:
        z = theirs.step(flow_model(z, t.expand(2))[:, :4], t, z).prev_sample
    torch.testing.assert_close(euler(schedule, predict_velocity(schedule), lambda: start), z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2)])
def test_the_samplers_of_a_flow_have_their_order(sampler: str, order: int) -> None:
    """Twice the steps: an error 2^order times smaller, for data N(0, 0.5²), whose flow is known."""
    s = 0.5

    def predict(schedule: Schedule) -> Callable[[Tensor, Tensor], Prediction]:
        def at_index(z: Tensor, index: Tensor) -> Prediction:
            alpha, sigma = at(schedule.alpha, index).double(), at(schedule.sigma, index).double()
            z_0 = alpha * s**2 * z / (alpha**2 * s**2 + sigma**2)
            return Prediction(z_0, (z - alpha * z_0) / sigma, z)

        return at_index

    start = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = []
    for steps in (40, 80):
        schedule = sampling_schedule(FULL, sampler, steps)
        errors.append(float((SAMPLERS[sampler](schedule, predict(schedule), lambda: start) - s * start).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


def test_heun_asks_twice_in_every_step_but_the_last() -> None:
    asked: list[float] = []
    schedule = flow_schedule(torch.arange(1, 6) / 5)

    def predict(z: Tensor, index: Tensor) -> Prediction:
        asked.append(round(float(schedule.sigma[index[0]]), 1))
        return Prediction(z, z, z)

    heun(schedule, predict, lambda: torch.zeros(SHAPE))
    assert asked == [1.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2]


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_dpm_solver_is_better_than_ddim_with_as_many_steps(steps: int) -> None:
    """For Gaussian data, whose best prediction is known: the root mean square error of the map from noise to data."""
    assert gaussian_error("dpm-solver++", steps) < 0.75 * gaussian_error("ddim", steps)


def gaussian_error(sampler: str, steps: int, s: float = 0.5) -> float:
    """RMS error of a deterministic sampler for data N(0, s²): its exact end is s · noise, for as many as T steps."""
    schedule = sampling_schedule(FULL, sampler, steps)

    def predict(z: Tensor, index: Tensor) -> Prediction:
        alpha, sigma = at(schedule.alpha, index), at(schedule.sigma, index)
        z_0 = alpha * s**2 * z / (alpha**2 * s**2 + sigma**2)
        return Prediction(z_0, (z - alpha * z_0) / sigma, torch.full_like(z, -10.0))

    start = torch.randn(64, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    alpha, sigma = float(FULL.alpha[-1]), float(FULL.sigma[-1])
    exact = s / (alpha**2 * s**2 + sigma**2) ** 0.5 * start  # the probability-flow ODE of a Gaussian is linear
    return float((SAMPLERS[sampler](schedule, predict, lambda: start) - exact).square().mean().sqrt())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_constant_inside_coarse_regions_at_every_step(sampler: str) -> None:
    copies, grain_map = [2, 1], torch.tensor([[[0, 1], [1, 0]], [[0, 0], [1, 1]]])
    schedule = sampling_schedule(FULL, sampler, 10)
    predicting = predict_velocity(schedule) if sampler in OF_FLOW else predict_with_toy(schedule)
    seen: list[Tensor] = []

    def predict(z: Tensor, index: Tensor) -> Prediction:
        seen.append(z)
        return predicting(z, index)

    streams = ImageStreams([1, 2], torch.device("cpu"))
    z = SAMPLERS[sampler](schedule, predict, lambda: multi_grained_noise(streams.normal(SHAPE[1:]), grain_map, copies))
    assert len(seen) == (19 if sampler == "heun" else 10)
    for state in (*seen, z):
        assert torch.equal(state, copy_codes(state, grain_map, copies))


@pytest.mark.parametrize("t", [0, 1, 250, 999])
def test_z_t_is_constant_inside_coarse_regions_at_every_t_and_has_unit_variance_noise(t: int) -> None:
    copies, grain_map = [2, 1], torch.randint(0, 2, (500, 2, 2))
    z_0 = multi_grained_noise(torch.randn(500, 4, 4, 4), grain_map, copies)
    noise = multi_grained_noise(torch.randn(500, 4, 4, 4), grain_map, copies)
    z_t = add_noise(FULL, z_0, noise, torch.full((500,), t))
    assert torch.equal(z_t, copy_codes(z_t, grain_map, copies))
    assert float(z_t.var()) == pytest.approx(1, abs=0.05)


def test_an_images_stream_does_not_depend_on_its_batch() -> None:
    cpu = torch.device("cpu")
    together = ImageStreams([11, 12, 13], cpu)
    alone = ImageStreams([12], cpu)
    for _ in range(3):
        assert torch.equal(together.normal((4, 2, 2))[1], alone.normal((4, 2, 2))[0])
    assert torch.equal(together.uniform((2, 2))[1], alone.uniform((2, 2))[0])


def guidance_model(calls: list[int]) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Noise = label, so that guidance can be read off; counts the images of each pass."""

    def model(z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor) -> Tensor:
        calls.append(len(z))
        value = labels.float()[:, None, None, None].expand_as(z)
        return torch.cat([value, 0.1 * value], 1)

    return model


def guidance(**changes: Any) -> dict[str, Any]:
    """Arguments of `guided` for two images, with changes."""
    usual = {
        "labels": torch.tensor([1, 2]), "no_class": 10, "grain_map": torch.zeros(2, 2, 2), "scale": 3.0,
        "interval": (0.0, 1.0), "objective": "epsilon",
    }  # fmt: skip
    return usual | changes


def test_guidance_moves_all_channels_away_from_the_unguided_noise_in_one_pass() -> None:
    calls: list[int] = []
    labels, grain_map = torch.tensor([1, 2]), torch.zeros(2, 2, 2)
    predict = guided(guidance_model(calls), FULL, **guidance(labels=labels, grain_map=grain_map))
    noise = predict(torch.zeros(SHAPE), torch.tensor([500, 500])).noise
    expected = 10 + 3 * (labels - 10)
    assert torch.equal(noise, expected[:, None, None, None].expand(SHAPE).float())
    assert calls == [4]


@pytest.mark.parametrize(("index", "passes"), [(100, 2), (500, 4), (900, 2)])
def test_guidance_works_only_in_its_interval_of_noise_levels(index: int, passes: int) -> None:
    calls: list[int] = []
    model = guidance_model(calls)
    predict = guided(model, FULL, **guidance(interval=(0.2, 0.8)))
    predict(torch.zeros(SHAPE), torch.tensor([index, index]))
    assert calls == [passes]


def test_scale_1_and_unconditional_models_cost_one_pass() -> None:
    for scale, no_class in ((1.0, 10), (3.0, 0)):
        calls: list[int] = []
        labels = torch.tensor([0, 0])
        predict = guided(guidance_model(calls), FULL, **guidance(labels=labels, no_class=no_class, scale=scale))
        predict(torch.zeros(SHAPE), torch.tensor([5, 5]))
        assert calls == [2]


def test_guidance_of_three_channels_leaves_the_fourth_guided_by_the_label_alone() -> None:
    predict = guided(guidance_model([]), FULL, **guidance(channels=3))
    noise = predict(torch.zeros(SHAPE), torch.tensor([500, 500])).noise
    assert noise[0, :, 0, 0].tolist() == [10 + 3 * (1 - 10)] * 3 + [1]
