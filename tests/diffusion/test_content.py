"""The content transformer's loss: its noise is that of the codes, and its weights count codes or positions."""

from typing import Any

import pytest
import torch
from torch import Tensor

from d2it.diffusion.content import content_loss
from d2it.diffusion.noise import multi_grained_noise
from d2it.diffusion.prediction import target
from d2it.diffusion.schedule import linear_schedule
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

    def __call__(self, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor) -> Tensor:
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
