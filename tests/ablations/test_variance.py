"""Spread over training seeds and over samplings are told apart."""

import numpy as np
import pytest

from ablations.variance import spread
from ablations.verdict import Cell, Values


def simulated(training: float, sampling: float, samplings: int) -> list[Values]:
    g = np.random.default_rng(0)
    return [
        {Cell(s, k): m + own + g.normal(0, sampling) for s, own in enumerate(g.normal(0, training, 40))
         for k in range(samplings)}
        for m in range(5)
    ]  # fmt: skip


@pytest.mark.parametrize(("training", "sampling"), [(1.0, 0.3), (0.3, 1.0), (0.0, 1.0)])
def test_both_parts_are_estimated_without_the_others(training: float, sampling: float) -> None:
    measured = spread(simulated(training, sampling, 3))
    assert measured.training == pytest.approx(training, abs=0.12)
    assert measured.sampling == pytest.approx(sampling, abs=0.05)


def test_what_was_not_varied_is_unknown() -> None:
    assert spread(simulated(1.0, 0.3, 1)).sampling is None
    assert spread([{Cell(0, 0): 1.0, Cell(0, 1): 2.0}]).training is None
    assert spread([{}]) == (None, None)
