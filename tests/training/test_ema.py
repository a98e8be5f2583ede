"""The average of the weights is one of weights that training visited, and forgets where it started."""

import pytest
import torch
from torch import nn

from d2it.training.ema import EMA, decay_at


def shares(steps: int, decay: float) -> torch.Tensor:
    """How much each visited weight, initial ones first, counts in the average: (steps + 1,)."""
    model = nn.Linear(steps + 1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    model.weight.data[0, 0] = 1
    ema = EMA(model, decay)
    for step in range(steps):
        nn.init.zeros_(model.weight)
        model.weight.data[0, step + 1] = 1
        ema.update(model, step)
    return ema.model.weight.data[0]


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.9999])
@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_the_average_is_a_convex_combination_in_which_the_initial_weights_have_no_more_than_their_share(
    steps: int, decay: float
) -> None:
    of_each = shares(steps, decay)
    assert float(of_each.sum()) == pytest.approx(1)
    assert float(of_each.min()) >= 0
    assert float(of_each[0]) <= 1 / (steps + 1)


def test_after_50_epochs_of_ffhq_nothing_is_left_of_the_initial_weights() -> None:
    left = 1.0
    for step in range(11_719):
        left *= decay_at(step, 0.9999)
    assert left < 1e-20


def test_the_decay_rises_to_what_was_asked_and_is_a_function_of_the_step_alone() -> None:
    decays = [decay_at(step, 0.999) for step in range(20_000)]
    assert decays == sorted(decays)
    assert decays[-1] == 0.999
