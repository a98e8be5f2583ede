"""Neighbour copying: multi-grained codes on a regular grid (paper section 3.1).

A region of the finest grain has one code at each of its finest positions; a coarser region's codes are copied to all
positions that they stand for. **Invariant: all copies of a code are equal**, in latents, noise and samples alike.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange, repeat
from torch import Tensor


def copies_per_side(factors: Sequence[int]) -> list[int]:
    """Finest positions along a side of a code, by grain, coarsest first: factors (8, 16) give [2, 1].

    Raises:
        ValueError: a factor is not twice the one before.
    """
    if not factors or any(b != 2 * a for a, b in pairwise(factors)):
        raise ValueError(f"factors {list(factors)}: each must be twice the one before")
    return [factor // factors[0] for factor in reversed(factors)]


def enlarge(x: Tensor, times: int) -> Tensor:
    """Repeat each position `times` x `times`: (..., h, w) -> (..., h·times, w·times)."""
    if times == 1:
        return x
    rows = repeat(x, "... y x -> ... (y p) x", p=times)  # in two steps: gradients of copies are summed in this order
    return repeat(rows, "... y x -> ... y (x q)", q=times)


def combine(grids: Sequence[Tensor], grain_map: Tensor) -> Tensor:
    """Take each region from its grain's grid and copy its codes to the finest positions.

    Args:
        grids: codes by grain, coarsest first, g-th (B, C, H/factor_g, W/factor_g).
        grain_map: (B, H/S, W/S) integer.

    Returns:
        (B, C, H/f_1, W/f_1), constant where codes are copies.
    """
    finest = grids[-1].shape[-1]
    grain = enlarge(grain_map, finest // grain_map.shape[-1])[:, None]  # (B, 1, H/f_1, W/f_1)
    grid = grids[-1]
    for g in range(len(grids) - 1):
        grid = torch.where(grain == g, enlarge(grids[g], finest // grids[g].shape[-1]), grid)
    return grid


def copy_codes(grid: Tensor, grain_map: Tensor, copies: Sequence[int]) -> Tensor:
    """Make a grid multi-grained: each code's first position is copied to all of its positions.

    One draw of noise per code (and not a mean of draws, which would have less variance): (B, C, H/f_1, W/f_1) -> same.
    """
    return combine([grid[..., ::n, ::n] for n in copies], grain_map)


def code_weight(grain_map: Tensor, copies: Sequence[int]) -> Tensor:
    """1 / number of copies at each finest position, (B, 1, H/f_1, W/f_1) float32: sums to the number of codes."""
    weight = torch.ones_like(grain_map, dtype=torch.float32)
    for grain, n in enumerate(copies[:-1]):  # no table, which would have to be copied to a GPU
        weight = weight.masked_fill(grain_map == grain, 1 / n**2)
    return enlarge(weight, copies[0])[:, None]


def codes_once(grid: Tensor, grain_map: Tensor, copies: Sequence[int]) -> Tensor:
    """Flat list of all codes of the batch, each once: (B, C, H/f_1, W/f_1) -> (n_codes, C)."""
    return rearrange(grid, "b c y x -> b y x c")[first_positions(grain_map, copies)]


def spread_codes(codes: Tensor, grain_map: Tensor, copies: Sequence[int]) -> Tensor:
    """The inverse of `codes_once`: each code at all positions that it stands for, (n_codes, C) -> (B, C, H/f_1, W/f_1).

    Where the batch lies; nothing is differentiated.
    """
    first = first_positions(grain_map, copies)  # (B, H/f_1, W/f_1)
    number = first.flatten().cumsum(0).view_as(first) - 1  # of the code, at its first position
    number = copy_codes(number[:, None], grain_map, copies)[:, 0]  # (B, H/f_1, W/f_1)
    return rearrange(codes[number], "b y x c -> b c y x").contiguous()


def first_positions(grain_map: Tensor, copies: Sequence[int]) -> Tensor:
    """True at the first (top left) position of each code: (B, H/f_1, W/f_1) bool."""
    grain = enlarge(grain_map, copies[0])  # (B, H/f_1, W/f_1)
    side = torch.ones_like(grain, dtype=torch.int64)
    for number, n in enumerate(copies[:-1]):
        side = side.masked_fill(grain == number, n)
    row = torch.arange(grain.shape[-2], device=grain.device)[:, None]
    column = torch.arange(grain.shape[-1], device=grain.device)[None]
    return (row % side == 0) & (column % side == 0)
