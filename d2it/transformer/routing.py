"""Routing: which tokens each RefineNet computes for a batch, a function of the grain maps alone (paper section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2it.transformer.layout import PackedTokens, pack


@dataclass(frozen=True)
class Route:
    """One RefineNet's work: its tokens in their windows, and where each comes from among the coarser tokens.

    Index tensors only, so the same route serves all steps of sampling and a model's forward pass knows no data.
    """

    tokens: PackedTokens  # n of them
    parent: Tensor  # (m,) int64, rows of the coarser tokens that are expanded
    child: Tensor  # (n,) int64, a token's row among the m·4 children

    def to(self, device: torch.device | str) -> "Route":
        """The same on a device."""
        return Route(self.tokens.to(device), self.parent.to(device), self.child.to(device))


def plan_routes(grain_map: Tensor, sides: Sequence[int], windows: Sequence[int], all_tokens: bool) -> list[Route]:
    """Routes for the finer grains, coarsest of them first; shorter than `sides` where finer regions are absent.

    Args:
        grain_map: (B, h, w), 0 = coarsest.
        sides: tokens along a side of each finer grain's grid, each twice the one before.
        windows: side of an attention window on each of these grids.
        all_tokens: compute the tokens of all regions wherever there is any work at all.
    """
    B = len(grain_map)
    side = sides[0] // 2 if sides else 0
    row = torch.arange(B * side**2, device=grain_map.device).view(B, side, side)  # of the backbone's tokens
    routes: list[Route] = []
    for grain, (side, window) in enumerate(zip(sides, windows, strict=True), start=1):
        fine = grain_map >= grain
        if not fine.any():
            break
        times = side // fine.shape[-1]
        chosen = fine.repeat_interleave(times, 1).repeat_interleave(times, 2)
        tokens = pack(torch.ones_like(chosen) if all_tokens else chosen, window)
        flat = tokens.position
        image, y, x = flat // side**2, flat // side % side, flat % side
        parent, index = torch.unique(row[image, y // 2, x // 2], return_inverse=True)
        routes.append(Route(tokens, parent, index * 4 + y % 2 * 2 + x % 2))
        row = torch.zeros(B * side**2, dtype=torch.int64, device=flat.device)
        row[flat] = torch.arange(len(flat), device=flat.device)
        row = row.view(B, side, side)
    return routes
