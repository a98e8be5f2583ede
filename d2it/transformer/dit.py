"""DiT as the field knows it (Peebles and Xie 2023): embeddings, adaLN-Zero blocks, final layer, backbone.

The one change: a block asks a `Layout` (routing.py) which tokens see each other, and so also runs on the packed tokens
of fine regions. What D²iT adds to DiT is in content.py.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from d2it.size import Size
from d2it.transformer.routing import DenseTokens, Layout

FREQUENCIES = 128  # sinusoids of the timestep
MAX_PERIOD = 10000.0
MLP_RATIO = 4


def sincos_positions(width: int, grid: Size) -> Tensor:
    """Fixed sin-cos embedding of a grid, row by row: (N, width) float32, N = grid.area."""
    omega = MAX_PERIOD ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # (C/4,)
    angle = torch.arange(max(grid), dtype=torch.float64)[:, None] * omega  # (n, C/4)
    axis = torch.cat([angle.sin(), angle.cos()], 1)  # (n, C/2)
    column = repeat(axis[: grid.width], "x c -> (y x) c", y=grid.height)
    row = repeat(axis[: grid.height], "y c -> (y x) c", x=grid.width)
    return torch.cat([column, row], 1).float()  # DiT's order: column first


class TimestepEmbedding(nn.Module):
    """t (B,) in 0..T-1 -> (B, C): sinusoids and an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * FREQUENCIES, width)
        self.second = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        exponent = -math.log(MAX_PERIOD) * torch.arange(FREQUENCIES, device=t.device, dtype=torch.float32) / FREQUENCIES
        angle = t[:, None].float() * exponent.exp()  # (B, FREQUENCIES)
        embedding: Tensor = self.second(F.silu(self.first(torch.cat([angle.cos(), angle.sin()], 1))))
        return embedding


class Condition(nn.Module):
    """Timestep and class in one vector, (B, C). The last class, number `classes`, means 'no class'."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.no_class = classes
        self.timestep = TimestepEmbedding(width)
        self.label = nn.Embedding(classes + 1, width)

    def forward(self, t: Tensor, labels: Tensor) -> Tensor:
        """t and labels (B,) integer."""
        embedding: Tensor = self.timestep(t) + self.label(labels)
        return embedding


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift."""
    return torch.addcmul(x + shift, x, scale)


class Attention(nn.Module):
    """Multi-head self-attention among the tokens that the layout lets see each other, (..., C) -> (..., C)."""

    def __init__(self, width: int, heads: int, *, qk_norm: bool = False) -> None:
        """`qk_norm`: RMS-normalise queries and keys per head (Esser et al. 2024); not in DiT."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if qk_norm:
            self.norm_q, self.norm_k = (nn.RMSNorm(width // heads, eps=1e-6) for _ in range(2))
        self.qk_norm = qk_norm

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "... (n heads d) -> n ... heads d", n=3, heads=self.heads)
        if self.qk_norm:
            q, k = self.norm_q(q.float()).to(v.dtype), self.norm_k(k.float()).to(v.dtype)
        out: Tensor = self.proj(rearrange(layout.attend(q, k, v), "... heads d -> ... (heads d)"))
        return out


class AdaLNZeroBlock(nn.Module):
    """x + gate·attention(modulate(norm x)), then the same with an MLP; the gates start at zero."""

    def __init__(self, width: int, heads: int, dropout: float, *, qk_norm: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention = Attention(width, heads, qk_norm=qk_norm)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = nn.Sequential(  # timm's Mlp, whose import takes every process 3 s; tests compare the two
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
        modulation = layout.broadcast(self.modulation(F.silu(condition)))  # once for all six
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
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
        """Tokens (..., C), condition (B, C)."""
        shift, scale = layout.broadcast(self.modulation(F.silu(condition))).chunk(2, dim=-1)
        out: Tensor = self.linear(modulate(self.norm(x), shift, scale))
        return out


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """A stack of adaLN-Zero blocks."""

    layers: int
    width: int  # channels of a token, C
    heads: int  # divides `width`
    dropout: float = 0.0  # after attention and inside the MLP
    qk_norm: bool = False  # see `Attention`
    recompute: bool = False  # activation checkpointing: what a block computes is not kept for the backward pass

    def build(self) -> nn.ModuleList:
        """The blocks, with initial weights.

        Raises:
            ValueError: the width cannot be shared out among the heads.
        """
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads}: must divide width, {self.width}")
        return nn.ModuleList(
            AdaLNZeroBlock(self.width, self.heads, self.dropout, qk_norm=self.qk_norm) for _ in range(self.layers)
        )


def run_blocks(blocks: nn.ModuleList, x: Tensor, condition: Tensor, layout: Layout, *, recompute: bool) -> Tensor:
    """Tokens (..., C) through all blocks, condition (B, C); `recompute`: see `Blocks`."""
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, condition, layout, use_reentrant=False)
        else:
            x = block(x, condition, layout)
    return x


class Backbone(nn.Module):
    """Patches to tokens, fixed sin-cos positions, adaLN-Zero blocks with global attention."""

    def __init__(self, blocks: Blocks, *, grid: Size, patch: int, channels_in: int) -> None:
        """`grid`: of z, which `patch` divides; a token for each patch."""
        super().__init__()
        self.recompute = blocks.recompute
        self.embed = nn.Conv2d(channels_in, blocks.width, patch, stride=patch)
        self.register_buffer("position", sincos_positions(blocks.width, grid.divided(patch)), persistent=False)
        self.blocks = blocks.build()

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """z (B, channels_in, h, w), condition (B, C) -> tokens (B, N, C), row by row."""
        x = rearrange(self.embed(z), "b c y x -> b (y x) c") + self.position  # (B, N, C)
        return run_blocks(self.blocks, x, condition, DenseTokens(), recompute=self.recompute)


def unpatchify(x: Tensor, grid: Size, patch: int) -> Tensor:
    """Tokens (B, h·w, patch²·C) of a grid (h, w) -> (B, C, h·patch, w·patch)."""
    return rearrange(x, "b (y x) (p q c) -> b c (y p) (x q)", y=grid.height, p=patch, q=patch)


class DiT(nn.Module):
    """DiT: the grain transformer's network, and the plain transformer that the paper compares with."""

    def __init__(
        self, blocks: Blocks, *, grid: Size, patch: int, channels_in: int, channels_out: int, classes: int
    ) -> None:
        """`grid`: of z; `classes`: 0 for an unconditional model."""
        super().__init__()
        self.tokens, self.patch = grid.divided(patch), patch
        self.condition = Condition(blocks.width, classes)
        self.backbone = Backbone(blocks, grid=grid, patch=patch, channels_in=channels_in)
        self.head = Head(blocks.width, patch**2 * channels_out)
        initialize(self)

    def forward(self, z: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """z (B, channels_in, h, w), t and labels (B,) -> (B, channels_out, h, w) float32."""
        condition = self.condition(t, labels)
        x = self.head(self.backbone(z, condition), condition, DenseTokens())  # (B, N, patch²·channels_out)
        return unpatchify(x, self.tokens, self.patch).float()


def initialize(model: nn.Module) -> None:
    """Set DiT's initial weights in place.

    Xavier for linear maps, N(0, 0.02²) for the embeddings of class and timestep, zero for every modulation and head:
    each block starts as the identity, and each model as zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, TimestepEmbedding):
            nn.init.normal_(module.first.weight, std=0.02)
            nn.init.normal_(module.second.weight, std=0.02)
        elif isinstance(module, AdaLNZeroBlock | Head):
            nn.init.zeros_(module.modulation.weight)
            if isinstance(module, Head):
                nn.init.zeros_(module.linear.weight)
