"""Grain maps are diffused as values, learned by cross entropy, and drawn again with the frequencies they had."""

from typing import Any

import pytest
import torch
from torch import Tensor

from d2it.diffusion.grain import grain_loss, sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.errors import NonFiniteError
from d2it.transformer.grain import DynamicGrainTransformer, grain_values, map_to_values
from tests.transformer.models import randomize

FULL = linear_schedule(1000, 1e-4, 0.02)
CPU = torch.device("cpu")
TINY: dict[str, Any] = {"layers": 1, "width": 16, "heads": 2, "region_grid": 4, "classes": 3}


def grain_transformer(grains: int) -> DynamicGrainTransformer:
    model = DynamicGrainTransformer(**TINY, grains=grains)
    randomize(model)
    return model


@pytest.mark.parametrize(("grains", "values"), [(1, [0]), (2, [-1, 1]), (3, [-1, 0, 1]), (5, [-1, -0.5, 0, 0.5, 1])])
def test_grains_are_evenly_spaced_values(grains: int, values: list[float]) -> None:
    assert grain_values(grains).tolist() == values
    grain_map = torch.randint(0, grains, (2, 4, 4))
    assert torch.equal(map_to_values(grain_map, grains)[:, 0], torch.tensor(values).float()[grain_map])


class Guess:
    """Knows nothing."""

    grains = 3

    def __call__(self, noisy_map: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return torch.zeros(len(noisy_map), 3, 4, 4)


def test_loss_of_a_uniform_guess_is_the_log_of_the_number_of_grains() -> None:
    grain_map = torch.randint(0, 3, (5, 4, 4))
    labels = torch.arange(5) % 4
    loss = grain_loss(
        FULL, Guess(), grain_map=grain_map, labels=labels, index=torch.arange(5), noise=torch.randn(5, 1, 4, 4)
    )
    torch.testing.assert_close(loss, torch.full((5,), 3.0).log())


@pytest.mark.parametrize("grains", [1, 2, 3, 4])
def test_the_loss_has_a_gradient_for_any_number_of_grains(grains: int) -> None:
    model = grain_transformer(grains)
    grain_map = torch.randint(0, grains, (2, 4, 4))
    labels, index, noise = torch.tensor([0, 3]), torch.tensor([0, 999]), torch.randn(2, 1, 4, 4)
    loss = grain_loss(FULL, model, grain_map=grain_map, labels=labels, index=index, noise=noise)
    loss.sum().backward()
    gradient = next(model.parameters()).grad
    assert gradient is not None
    assert bool(gradient.isfinite().all())
    assert bool((gradient != 0).any()) is (grains > 1)  # one grain leaves nothing to learn


class Oracle(DynamicGrainTransformer):
    """Knows the map."""

    def __init__(self, grain_map: Tensor) -> None:
        super().__init__(**TINY, grains=2)
        self.logits = 100 * torch.nn.functional.one_hot(grain_map.long(), 2).movedim(-1, 1).float()

    def forward(self, noisy_map: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return self.logits


def test_an_oracle_gives_back_the_map() -> None:
    grain_map = torch.randint(0, 2, (3, 4, 4))
    streams = ImageStreams([1, 2, 3], CPU)
    drawn = sample_grain_maps(FULL.respaced(10), Oracle(grain_map), torch.zeros(3, dtype=torch.long), streams)
    assert torch.equal(drawn, grain_map.to(torch.uint8))


@pytest.mark.parametrize("grains", [1, 2, 3, 4])
def test_a_drawn_map_depends_on_its_own_stream_and_label_alone(grains: int) -> None:
    model, schedule = grain_transformer(grains), FULL.respaced(5)
    labels = torch.tensor([0, 1, 2])
    with torch.no_grad():
        together = sample_grain_maps(schedule, model, labels, ImageStreams([7, 8, 9], CPU))
        alone = sample_grain_maps(schedule, model, labels[1:2], ImageStreams([8], CPU))
    assert torch.equal(together[1:2], alone)
    assert together.shape == (3, 4, 4)
    assert together.max() < grains


def test_guidance_moves_the_logits_away_from_the_unguided_ones_and_1_is_one_pass() -> None:
    model, schedule, labels = grain_transformer(2), FULL.respaced(3), torch.tensor([0, 1])
    asked: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    with torch.no_grad():
        drawn = {
            scale: sample_grain_maps(schedule, model, labels, ImageStreams([1, 2], CPU), guidance=scale)
            for scale in (0.0, 1.0, 50.0)
        }
        nobody = torch.full_like(labels, model.no_class)
        unguided = sample_grain_maps(schedule, model, nobody, ImageStreams([1, 2], CPU))
    assert asked == [4] * 3 + [2] * 3 + [4] * 3 + [2] * 3
    assert torch.equal(drawn[0.0], unguided)
    assert not torch.equal(drawn[50.0], drawn[1.0])


def test_logits_that_are_not_finite_are_refused() -> None:
    model = grain_transformer(2)
    next(model.parameters()).data.fill_(float("nan"))
    with torch.no_grad(), pytest.raises(NonFiniteError, match="the grain transformer's logits"):
        sample_grain_maps(FULL.respaced(3), model, torch.tensor([0]), ImageStreams([1], CPU))
