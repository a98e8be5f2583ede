"""Neighbour copying keeps its invariant: all copies of a code are equal, and a code counts once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2it.grain.codes import (
    code_weight,
    codes_once,
    combine,
    copies_per_side,
    copy_codes,
    first_positions,
    spread_codes,
)

FACTORS = [[8], [8, 16], [8, 16, 32], [8, 16, 32, 64]]
cases = settings(max_examples=20, deadline=None)


def random_map(seed: int, grains: int) -> torch.Tensor:
    """Of 3 x 5 regions: what holds of them holds of squares."""
    return torch.randint(0, grains, (2, 3, 5), generator=torch.Generator().manual_seed(seed))


def code_values(grid: torch.Tensor, grain_map: torch.Tensor, copies: list[int]) -> list[torch.Tensor]:
    """Every code's copies, looked up position by position: (C, n, n) tensors."""
    codes = []
    for b in range(len(grid)):
        for i in range(grain_map.shape[1]):
            for j in range(grain_map.shape[2]):
                n, size = copies[int(grain_map[b, i, j])], copies[0]
                region = grid[b, :, i * size : (i + 1) * size, j * size : (j + 1) * size]
                codes += [region[:, y : y + n, x : x + n] for y in range(0, size, n) for x in range(0, size, n)]
    return codes


@cases
@given(seed=st.integers(0, 10**6), factors=st.sampled_from(FACTORS))
def test_copies_of_a_code_are_equal_after_copying(seed: int, factors: list[int]) -> None:
    copies = copies_per_side(factors)
    grain_map = random_map(seed, len(factors))
    grid = copy_codes(torch.randn(2, 4, 3 * copies[0], 5 * copies[0]), grain_map, copies)
    assert all(bool((code == code[:, :1, :1]).all()) for code in code_values(grid, grain_map, copies))


@cases
@given(seed=st.integers(0, 10**6), factors=st.sampled_from(FACTORS))
def test_combine_takes_each_code_from_its_own_grains_grid(seed: int, factors: list[int]) -> None:
    copies = copies_per_side(factors)
    grain_map = random_map(seed, len(factors))
    h, w = 3 * copies[0], 5 * copies[0]
    grids = [torch.full((2, 1, h // n, w // n), float(g)) for g, n in enumerate(copies)]
    combined = combine(grids, grain_map)
    assert torch.equal(combined[:, 0, :: copies[0], :: copies[0]], grain_map.float())
    assert torch.equal(combined, copy_codes(combined, grain_map, copies))


@cases
@given(seed=st.integers(0, 10**6), factors=st.sampled_from(FACTORS))
def test_weights_sum_to_the_number_of_codes_and_codes_once_lists_each_once(seed: int, factors: list[int]) -> None:
    copies = copies_per_side(factors)
    grain_map = random_map(seed, len(factors))
    grid = copy_codes(torch.randn(2, 4, 3 * copies[0], 5 * copies[0]), grain_map, copies)
    codes = [code[:, 0, 0] for code in code_values(grid, grain_map, copies)]
    once = codes_once(grid, grain_map, copies)
    assert torch.equal(spread_codes(once, grain_map, copies), copy_codes(grid, grain_map, copies)), "and back again"
    assert float(code_weight(grain_map, copies).sum()) == pytest.approx(len(codes))
    assert int(first_positions(grain_map, copies).sum()) == len(once) == len(codes)
    assert torch.equal(once.sort(0).values, torch.stack(codes).sort(0).values)


def test_noise_that_is_copied_keeps_unit_variance() -> None:
    noise = copy_codes(torch.randn(400, 4, 8, 8), torch.zeros(400, 4, 4, dtype=torch.long), [2, 1])
    assert float(noise.var()) == pytest.approx(1, abs=0.05)


def test_one_factor_is_a_plain_grid() -> None:
    grid = torch.randn(2, 4, 3, 3)
    assert torch.equal(copy_codes(grid, torch.zeros(2, 3, 3, dtype=torch.long), copies_per_side([8])), grid)
