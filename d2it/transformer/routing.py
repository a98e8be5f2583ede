"""Routing: which tokens each RefineNet computes, a function of the grain maps alone, and how they are laid out in
windows (paper section 3.2).

Routes are planned in NumPy: a loader does it ahead of time in another thread, and no GPU is waited for.

A block's linear layers do not care which tokens they see; only attention and the conditioning do. So a layout offers
two things: `broadcast` one vector per image to its tokens, and `attend` among the tokens that see each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from d2it.size import Size


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


@dataclass(frozen=True, kw_only=True)
class PackedTokens:
    """Chosen tokens of a batch in one flat list (n, C); each sees the chosen tokens of its window.

    No padding and no mask: a batch of uneven images costs what its tokens cost (our reading of the routing's purpose).
    The list goes window by window, those with equally many tokens together. In half precision on a GPU all windows are
    one call of variable length attention; elsewhere each group is one dense attention.
    """

    position: Tensor  # (n,) int64, index into the flattened (B, h, w) grid
    image: Tensor  # (n,) int64, index into the batch
    starts: Tensor  # (windows + 1,) int32, first token of each window, and n
    groups: list[tuple[int, int]]  # (windows, tokens in each), in the list's order
    most: int  # tokens that a window can hold

    def broadcast(self, condition: Tensor) -> Tensor:
        return gather(condition, self.image)  # (n, C)

    def map(self, change: Callable[[Tensor], Tensor]) -> "PackedTokens":
        """The same with changed tensors."""
        position, image, starts = map(change, (self.position, self.image, self.starts))
        return replace(self, position=position, image=image, starts=starts)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
            return _varlen_attention(q, k, v, self.starts, most=self.most)
        attend = torch.compiler.disable(_attend_groups) if torch.compiler.is_compiling() else _attend_groups
        out: Tensor = attend(self.groups, q, k, v)
        return out


@dataclass(frozen=True)
class Route:
    """One RefineNet's work: its tokens in their windows, and where each comes from among the coarser tokens.

    Index tensors only, so the same route serves all steps of sampling and a model's forward pass knows no data.
    """

    tokens: PackedTokens  # n of them
    parent: Tensor  # (m,) int64, rows of the coarser tokens that are expanded
    child: Tensor  # (n,) int64, a token's row among the m·4 children

    def map(self, change: Callable[[Tensor], Tensor]) -> "Route":
        """The same with changed tensors."""
        return Route(self.tokens.map(change), change(self.parent), change(self.child))

    def pinned(self) -> "Route":
        """In memory from where a GPU fetches it while it works."""
        return self.map(Tensor.pin_memory)

    def to(self, device: torch.device | str) -> "Route":
        """The same on a device; from pinned memory without waiting for it."""
        return self.map(lambda x: x.to(device, non_blocking=True))


def plan_routes(
    grain_map: NDArray[np.integer], grids: Sequence[Size], windows: Sequence[Size], all_tokens: bool
) -> list[Route]:
    """Routes for the finer grains, coarsest of them first; without tokens where no region is so fine.

    Args:
        grain_map: (B, h, w), 0 = coarsest.
        grids: of the tokens of each grain, coarsest first, each twice as high and wide as the one before.
        windows: attention windows on each of these grids but the first, on which all tokens see each other.
        all_tokens: compute the tokens of all regions wherever there is any work at all.
    """
    B = len(grain_map)
    row = np.arange(B * grids[0].area).reshape(B, *grids[0])  # of the backbone's tokens
    routes: list[Route] = []
    for grain, (grid, window) in enumerate(zip(grids[1:], windows, strict=True), start=1):
        fine = grain_map >= grain
        times = grid.height // fine.shape[1]
        chosen = fine.repeat(times, 1).repeat(times, 2)  # (B, *grid)
        tokens = pack_windows(np.ones_like(chosen) if all_tokens and fine.any() else chosen, window)
        flat = tokens.position.numpy()
        image, y, x = np.unravel_index(flat, chosen.shape)
        parent, index = np.unique(row[image, y // 2, x // 2], return_inverse=True)
        child = index * 4 + y % 2 * 2 + x % 2
        routes.append(Route(tokens, torch.from_numpy(parent), torch.from_numpy(child)))
        row = np.zeros(chosen.shape, np.int64)
        row.flat[flat] = np.arange(len(flat))
    return routes


def pack_windows(chosen: NDArray[np.bool_], window: Size) -> PackedTokens:
    """Layout of the chosen positions of a grid cut into windows.

    Args:
        chosen: (B, h, w).
        window: divides (h, w); all of it for attention among all chosen tokens of an image.
    """
    B, h, w = chosen.shape
    down, across = h // window.height, w // window.width  # windows of an image
    position = np.flatnonzero(chosen)  # (n,)
    image, y, x = position // (h * w), position // w % h, position % w
    window_of = (image * down + y // window.height) * across + x // window.width  # (n,)
    tokens_in = np.bincount(window_of, minlength=B * down * across)
    order = np.lexsort((window_of, tokens_in[window_of]))  # by size, then by window, then by position
    position = position[order]
    tokens, count = np.unique(tokens_in[tokens_in > 0], return_counts=True)
    groups = list(zip(count.tolist(), tokens.tolist(), strict=True))
    starts = np.concatenate([[0], np.cumsum(np.repeat(tokens, count))]).astype(np.int32)
    return PackedTokens(
        position=torch.from_numpy(position), image=torch.from_numpy(image[order]), starts=torch.from_numpy(starts),
        groups=groups, most=window.area,
    )  # fmt: skip


def gather(x: Tensor, index: Tensor) -> Tensor:
    """x[index] for x (m, C) and index (n,), at less than half the cost; gradients are summed in a fixed order."""
    return F.embedding(index, x)


def _varlen_attention(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, *, most: int) -> Tensor:
    """Attention inside each of many sequences, (n, heads, D) -> (n, heads, D), one after the other from `starts`."""
    from torch.nn.attention.varlen import varlen_attn  # of PyTorch 2.10 and later; CUDA alone needs it

    if not len(v):
        return v
    out = varlen_attn(q, k, v, starts, starts, most, most)
    assert isinstance(out, Tensor)
    return out


def _attend_groups(groups: list[tuple[int, int]], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention within windows, (n, heads, D) -> (n, heads, D): one call for all windows that hold equally many tokens.

    Args:
        groups: (windows, tokens in each), in the tokens' order.
    """
    if not groups:
        return v
    sizes = [windows * tokens for windows, tokens in groups]
    parts = [
        _attention(*(x.unflatten(0, group) for x in qkv)).flatten(0, 1)  # (windows, tokens, heads, D) inside
        for group, *qkv in zip(groups, q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
    ]
    return torch.cat(parts)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, (B, N, heads, D) -> (B, N, heads, D)."""
    q, k, v = (rearrange(x, "b n heads d -> b heads n d") for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b heads n d -> b n heads d")
