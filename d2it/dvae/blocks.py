"""Residual, attention and resampling blocks of LDM's autoencoder."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32


def normalize(channels: int) -> nn.GroupNorm:
    """GroupNorm with LDM's epsilon and 32 groups; where channels are few, groups of 8."""
    return nn.GroupNorm(GROUPS if channels >= 4 * GROUPS else channels // 8, channels, eps=1e-6)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1 = normalize(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = normalize(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return torch.add(self.skip(x), h)


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions, (B, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = normalize(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, H, _ = x.shape
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (n c) y x -> n b (y x) c", n=3)
        h = F.scaled_dot_product_attention(q, k, v)  # (B, H·W, C)
        h = self.proj(rearrange(h, "b (y x) c -> b c y x", y=H))
        return torch.add(x, h)


class Downsample(nn.Module):
    """Halve height and width: convolution of stride 2, padded at the right and bottom as in LDM."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return h


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return h


def middle(channels: int) -> nn.Sequential:
    """LDM's middle: residual block, attention, residual block."""
    return nn.Sequential(ResBlock(channels, channels), AttentionBlock(channels), ResBlock(channels, channels))
