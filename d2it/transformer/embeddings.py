"""Embeddings of DiT: positions, timestep and class."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FREQUENCIES = 128
MAX_PERIOD = 10000.0


def sincos_positions(width: int, side: int) -> Tensor:
    """Fixed sin-cos embedding of a `side` x `side` grid, row by row: (side², width) float32."""
    omega = MAX_PERIOD ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # (C/4,)
    angle = torch.arange(side, dtype=torch.float64)[:, None] * omega  # (side, C/4)
    axis = torch.cat([angle.sin(), angle.cos()], 1)  # (side, C/2)
    column = axis[None].expand(side, -1, -1)  # DiT's order: column first
    row = axis[:, None].expand(-1, side, -1)
    return torch.cat([column, row], 2).flatten(0, 1).float()


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
