"""The content transformer's loss: its noise is that of the codes, and its weights count codes or positions."""

from typing import Any

import pytest
import torch
from torch import Tensor

from d2it.data.latents import LatentBatch
from d2it.diffusion.content import content_loss, draw_content_loss
from d2it.diffusion.noise import ImageStreams, draw, multi_grained_noise
from d2it.diffusion.prediction import interpret, target
from d2it.diffusion.schedule import add_noise, flow_schedule, flow_times, linear_schedule
from d2it.grain.codes import code_weight

FULL = linear_schedule(1000, 1e-4, 0.02)
COPIES = [2, 1]
GRAIN_MAP = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 1]]])
INDEX = torch.tensor([10, 700])


class Model:
    """The right output, plus an error where a region is fine; keeps what it was asked."""

    copies = COPIES

    def __init__(self, output: Tensor, error: float) -> None:
        self.output, self.error = output, error
        self.asked: list[Any] = []

    def __call__(self, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor, routes: object = None) -> Tensor:
        self.asked += [z, t, labels, grain_map]
        fine = grain_map.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
        value = self.output + self.error * fine
        return torch.cat([value, torch.zeros_like(value)], 1)


def batch() -> dict[str, Tensor]:
    z_0, noise = (multi_grained_noise(torch.randn(2, 3, 4, 4), GRAIN_MAP, COPIES) for _ in range(2))
    return {"z_0": z_0, "grain_map": GRAIN_MAP, "labels": torch.tensor([1, 0]), "index": INDEX, "noise": noise}


@pytest.mark.parametrize("objective", ["epsilon", "v"])
def test_the_right_output_has_no_error(objective: str) -> None:
    inputs = batch()
    right = target(FULL, inputs["z_0"], inputs["noise"], INDEX, objective=objective)
    losses = content_loss(FULL, Model(right, 0.0), **inputs, objective=objective)
    assert losses.mse.tolist() == [0, 0]
    assert torch.equal(losses.loss, losses.bound)


@pytest.mark.parametrize(("weighting", "shares"), [("code", [12 / 13, 4 / 7]), ("position", [12 / 16, 4 / 16])])
def test_an_error_counts_by_codes_or_by_positions(weighting: str, shares: list[float]) -> None:
    """Of 13 codes 12 are fine in the first image, of 7 codes 4 in the second; of 16 positions, 12 and 4."""
    inputs = batch()
    losses = content_loss(FULL, Model(inputs["noise"], 0.5), **inputs, weighting=weighting)
    assert losses.mse.tolist() == pytest.approx([0.25 * share for share in shares])
    assert float(code_weight(GRAIN_MAP, COPIES)[0].sum()) == 13


def test_the_model_sees_the_schedules_timesteps_and_a_multi_grained_z_t() -> None:
    inputs, schedule = batch(), FULL.respaced(100)
    model = Model(inputs["noise"], 0.0)
    content_loss(schedule, model, **inputs | {"index": INDEX // 10})
    z_t, t, labels, grain_map = model.asked
    assert torch.equal(t, schedule.timestep[INDEX // 10])
    assert torch.equal(z_t, multi_grained_noise(z_t, GRAIN_MAP, COPIES))
    assert (labels is inputs["labels"], grain_map is GRAIN_MAP) == (True, True)


def test_the_right_velocity_has_no_error_at_any_time_and_leads_back_to_z_0() -> None:
    inputs = batch() | {"index": torch.arange(2)}
    schedule = flow_schedule(torch.tensor([0.1, 0.9]))
    velocity = inputs["noise"] - inputs["z_0"]
    losses = content_loss(schedule, Model(velocity, 0.0), **inputs, objective="flow")
    assert losses.loss.tolist() == [0, 0]
    z_t = add_noise(schedule, inputs["z_0"], inputs["noise"], inputs["index"])
    expected = inputs["z_0"] + torch.tensor([0.1, 0.9])[:, None, None, None] * velocity
    torch.testing.assert_close(z_t, expected)
    output = torch.cat([velocity, torch.zeros_like(velocity)], 1)
    prediction = interpret(schedule, output, z_t, inputs["index"], objective="flow")
    torch.testing.assert_close(prediction.z_0, inputs["z_0"])
    torch.testing.assert_close(prediction.noise, inputs["noise"])


def test_a_flow_trains_each_image_at_a_time_of_its_own_in_units_of_the_models_timesteps() -> None:
    model = Model(torch.zeros(2, 3, 4, 4), 0.0)
    model.no_class = 4  # type: ignore[attr-defined]
    photos = LatentBatch(torch.randn(2, 3, 4, 4), torch.ones(2, 3, 4, 4), GRAIN_MAP, torch.tensor([0, 1]))
    draws = draw(ImageStreams([0, 1], torch.device("cpu")), (2, 3, 4, 4))
    draw_content_loss(FULL, model, photos, draws, scale=1.0, objective="flow")
    t = model.asked[1]
    assert t.shape == (2,)
    assert float(t[0]) != float(t[1])
    assert 0 < float(t.min()) < float(t.max()) < 1000


@pytest.mark.parametrize(("distribution", "deviation"), [("uniform", 12**-0.5), ("logit-normal", 0.208)])
def test_times_lie_between_0_and_1_around_a_half(distribution: str, deviation: float) -> None:
    times = flow_times(torch.rand(100_000, generator=torch.Generator().manual_seed(0)), distribution=distribution)
    assert 0 < float(times.min()) < float(times.max()) < 1
    assert float(times.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(times.std()) == pytest.approx(deviation, abs=0.005)
