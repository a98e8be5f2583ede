"""The adaLN-Zero block and head of DiT (Peebles and Xie, 2023), on any layout of tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2it.transformer.layout import Layout

MLP_RATIO = 4


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift."""
    return torch.addcmul(x + shift, x, scale)


class Attention(nn.Module):
    """Multi-head self-attention among the tokens that the layout lets see each other, (..., C) -> (..., C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)  # each (..., heads, D)
        out: Tensor = self.proj(layout.attend(q, k, v).flatten(-2))
        return out


class AdaLNZeroBlock(nn.Module):
    """x + gate·attention(modulate(norm x)), then the same with an MLP; the gates start at zero."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width),
            nn.GELU(approximate="tanh"),
            nn.Dropout(dropout),
            nn.Linear(MLP_RATIO * width, width),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor, layout: Layout) -> Tensor:
        """Tokens (..., C), condition (B, C) -> tokens (..., C)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            layout.spread(part) for part in self.modulation(F.silu(condition)).chunk(6, dim=-1)
        )
        attended = self.attention(modulate(self.norm1(x), shift1, scale1), layout)
        x = torch.addcmul(x, gate1, self.dropout(attended))
        return torch.addcmul(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))


class Head(nn.Module):
    """DiT's final layer: modulated norm and a linear map that starts at zero, (..., C) -> (..., channels_out)."""

    def __init__(self, width: int, channels_out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.linear = nn.Linear(width, channels_out)

    def forward(self, x: Tensor, condition: Tensor, layout: Layout) -> Tensor:
        shift, scale = (layout.spread(part) for part in self.modulation(F.silu(condition)).chunk(2, dim=-1))
        out: Tensor = self.linear(modulate(self.norm(x), shift, scale))
        return out
