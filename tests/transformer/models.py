"""Tiny models for tests, with weights that are not zero anywhere."""

from typing import Any

import torch
from torch import nn

from d2it.size import Size
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.dit import Blocks, DiT

TINY: dict[str, Any] = {"layers": 2, "width": 32, "heads": 4, "classes": 4}


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights in place, so that gates and heads are not zero."""
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=g) * 0.15
    return model


def content_transformer(*, seed: int = 0, **changes: Any) -> DynamicContentTransformer:
    """4 classes, 2 grains, 8 x 8 codes of 4 channels, windows of 8, random weights; with changes."""
    model = DynamicContentTransformer(**TINY | {"latent_grid": 8, "window": 8} | changes)
    randomize(model, seed)
    return model


def tiny_dit(grid: int | Size) -> DiT:
    """DiT of the same size with patch 2, weights as at the start."""
    blocks = Blocks(layers=2, width=32, heads=4)
    return DiT(blocks, grid=Size.of(grid), patch=2, channels_in=4, channels_out=8, classes=4)
