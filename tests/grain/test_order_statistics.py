"""Order statistics in two passes against a sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2it.grain import order_statistics as module
from d2it.grain.order_statistics import order_statistics


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    repeats=st.integers(1, 3),
)
def test_equal_those_of_a_sort_however_the_numbers_are_cut(values: list[float], cuts: list[int], repeats: int) -> None:
    numbers = np.repeat(np.array(values, np.float32), repeats)
    blocks = np.split(numbers, sorted(min(cut, len(numbers)) for cut in cuts))
    ranks = np.arange(len(numbers))
    np.testing.assert_array_equal(order_statistics(blocks, ranks), np.sort(numbers))


def test_a_block_is_read_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", 7)
    numbers = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    ranks = np.array([59, 0, 30, 30])
    np.testing.assert_array_equal(order_statistics([numbers], ranks), np.sort(numbers, axis=None)[ranks])
