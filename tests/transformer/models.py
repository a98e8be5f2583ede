"""Tiny models for tests, with weights that are not zero anywhere."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2it import params
from d2it.params import Content, RefineNet
from d2it.transformer.content import DynamicContentTransformer

DEMO = params.load(Path(__file__).parents[2] / "params.yaml")
FACTORS_2 = [8, 16]


def content_params(**changes: Any) -> Content:
    """The demo's content section, tiny, with changes."""
    tiny = {"layers": 2, "width": 32, "heads": 4, "dropout": 0.0}
    return Content.model_validate(DEMO.content.model_dump() | tiny | changes)


def refinenet_params(**changes: Any) -> RefineNet:
    """The demo's refinenet section with changes."""
    return RefineNet.model_validate(DEMO.refinenet.model_dump() | changes)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights in place, so that gates and heads are not zero."""
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=g) * 0.15
    return model


def content_transformer(
    content: Content | None = None,
    refinenet: RefineNet | None = None,
    factors: list[int] | None = None,
    latent_grid: int = 8,
    seed: int = 0,
) -> DynamicContentTransformer:
    """4 classes, 4 latent channels, random weights."""
    model = DynamicContentTransformer(
        content or content_params(), refinenet or refinenet_params(), factors or FACTORS_2, latent_grid, 4, 4
    )
    randomize(model, seed)
    return model
