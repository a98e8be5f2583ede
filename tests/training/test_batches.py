"""Batches and learning rate are pure functions of seed and step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2it.training.batches import batch_rows, learning_rate


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 50), batch_size=st.integers(1, 70), seed=st.integers(0, 99))
def test_every_row_is_seen_once_an_epoch_whatever_the_batch_size(rows: int, batch_size: int, seed: int) -> None:
    stream = np.concatenate([batch_rows(seed, step, batch_size, rows) for step in range(3 * rows // batch_size + 1)])
    for epoch in range(len(stream) // rows):
        assert sorted(stream[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_epochs_differ_and_seeds_differ() -> None:
    first, second, other = batch_rows(0, 0, 50, 50), batch_rows(0, 1, 50, 50), batch_rows(1, 0, 50, 50)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_learning_rate_rises_stays_and_falls() -> None:
    rates = [learning_rate(2.0, seen, 1000, warmup=100, cooldown=200) for seen in range(0, 1000, 10)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[:10] == sorted(rates[:10])
    assert set(rates[10:80]) == {2.0}
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert learning_rate(2.0, 999, 1000, warmup=0, cooldown=0) == 2.0
