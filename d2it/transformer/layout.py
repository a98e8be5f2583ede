"""How tokens are laid out: all tokens of every image, or a packed list of the tokens of fine regions in windows.

A block's linear layers do not care which tokens they see; only attention and the conditioning do. So a layout offers
two things: `spread` a vector an image to its tokens, and `attend` among the tokens that see each other.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Layout(Protocol):
    """What a block asks of a layout of tokens (..., C)."""

    def spread(self, condition: Tensor) -> Tensor:
        """A vector an image, (B, C), to a shape that broadcasts to the tokens (..., C)."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Softmax attention, (..., heads, D) -> (..., heads, D)."""


class DenseTokens:
    """All tokens of every image, (B, N, C); each sees all tokens of its image."""

    def spread(self, condition: Tensor) -> Tensor:
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
    groups: list[tuple[int, int]]  # (windows, tokens a window), in the list's order

    def spread(self, condition: Tensor) -> Tensor:
        return rows(condition, self.image)  # (n, C)

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


def rows(x: Tensor, index: Tensor) -> Tensor:
    """x[index] for x (m, C) and index (n,), at less than half the cost; gradients are summed in a fixed order."""
    return F.embedding(index, x)


def pack(chosen: Tensor, window: int) -> PackedTokens:
    """Layout of the chosen positions of a grid cut into `window` x `window` windows.

    Args:
        chosen: (B, h, w) bool.
        window: divides h and w; h for attention among all chosen tokens of an image.
    """
    B, h, w = chosen.shape
    columns = w // window
    rows = torch.arange(h, device=chosen.device)[:, None] // window
    window_id = rows * columns + torch.arange(w, device=chosen.device)[None] // window  # (h, w)
    windows = (h // window) * columns
    window_id = window_id + windows * torch.arange(B, device=chosen.device)[:, None, None]  # (B, h, w)
    position = chosen.flatten().nonzero().squeeze(1)  # (n,)
    window_of = window_id.flatten()[position]  # (n,)
    tokens_in = torch.bincount(window_of, minlength=B * windows)  # (B·windows,)
    order = torch.argsort(tokens_in[window_of] * (B * windows) + window_of, stable=True)
    position = position[order]
    tokens, count = torch.unique(tokens_in[tokens_in > 0], return_counts=True)
    groups = list(zip(count.tolist(), tokens.tolist(), strict=True))
    return PackedTokens(position, position // (h * w), groups)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, (B, N, heads, D) -> (B, N, heads, D)."""
    return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
