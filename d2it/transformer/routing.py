"""Routing: which tokens each RefineNet computes, a function of the grain maps alone, and how they are laid out in
windows (paper section 3.2).

A block's linear layers do not care which tokens they see; only attention and the conditioning do. So a layout offers
two things: `broadcast` one vector per image to its tokens, and `attend` among the tokens that see each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F


class Layout(Protocol):
    """What a block asks of a layout of tokens (..., C)."""

    def broadcast(self, condition: Tensor) -> Tensor:
        """One vector per image, (B, C), to a shape that broadcasts to the tokens (..., C)."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Softmax attention, (..., heads, D) -> (..., heads, D)."""


class DenseTokens:
    """All tokens of every image, (B, N, C); each sees all tokens of its image."""

    def broadcast(self, condition: Tensor) -> Tensor:
        return condition[:, None]  # (B, 1, C)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _attention(q, k, v)


@dataclass(frozen=True)
class PackedTokens:
    """Chosen tokens of a batch in one flat list (n, C); each sees the chosen tokens of its window.

    The list is sorted so that windows with equally many tokens stand together: they make one dense attention without
    padding or mask, so a batch of uneven images costs what its tokens cost (our reading of the routing's purpose).
    """

    position: Tensor  # (n,) int64, index into the flattened (B, h, w) grid
    image: Tensor  # (n,) int64, index into the batch
    groups: list[tuple[int, int]]  # (windows, tokens in each), in the list's order

    def broadcast(self, condition: Tensor) -> Tensor:
        return gather(condition, self.image)  # (n, C)

    def to(self, device: torch.device | str) -> "PackedTokens":
        """The same on a device."""
        return PackedTokens(self.position.to(device), self.image.to(device), self.groups)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        sizes = [windows * tokens for windows, tokens in self.groups]
        parts = [
            _attention(*(x.unflatten(0, group) for x in qkv)).flatten(0, 1)  # (windows, tokens, heads, D) inside
            for group, *qkv in zip(self.groups, q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
        ]
        return torch.cat(parts)


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
        chosen = repeat(fine, "b y x -> b (y p) (x q)", p=times, q=times)
        tokens = pack_windows(torch.ones_like(chosen) if all_tokens else chosen, window)
        flat = tokens.position
        image, y, x = flat // side**2, flat // side % side, flat % side
        parent, index = torch.unique(row[image, y // 2, x // 2], return_inverse=True)
        routes.append(Route(tokens, parent, index * 4 + y % 2 * 2 + x % 2))
        row = torch.zeros(B * side**2, dtype=torch.int64, device=flat.device)
        row[flat] = torch.arange(len(flat), device=flat.device)
        row = row.view(B, side, side)
    return routes


def pack_windows(chosen: Tensor, window: int) -> PackedTokens:
    """Layout of the chosen positions of a grid cut into `window` x `window` windows.

    Args:
        chosen: (B, h, w) bool.
        window: divides h and w; h for attention among all chosen tokens of an image.
    """
    B, h, w = chosen.shape
    windows = (h // window) * (w // window)
    number = torch.arange(B * windows, device=chosen.device)
    shape = {"b": B, "y": h // window, "x": w // window, "p": window, "q": window}
    window_id = repeat(number, "(b y x) -> (b y p x q)", **shape)
    position = chosen.flatten().nonzero().squeeze(1)  # (n,)
    window_of = window_id[position]  # (n,)
    tokens_in = torch.bincount(window_of, minlength=B * windows)  # (B·windows,)
    order = torch.argsort(tokens_in[window_of] * (B * windows) + window_of, stable=True)
    position = position[order]
    tokens, count = torch.unique(tokens_in[tokens_in > 0], return_counts=True)
    groups = list(zip(count.tolist(), tokens.tolist(), strict=True))
    return PackedTokens(position, position // (h * w), groups)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """x[index] for x (m, C) and index (n,), at less than half the cost; gradients are summed in a fixed order."""
    return F.embedding(index, x)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, (B, N, heads, D) -> (B, N, heads, D)."""
    q, k, v = (rearrange(x, "b n heads d -> b heads n d") for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b heads n d -> b n heads d")
