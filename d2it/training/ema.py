"""Exponential moving average of weights, in float32 as the weights themselves.

Ours: PyTorch's AveragedModel adds a counter and a prefix to the names of what is saved.
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class EMA(Generic[Model]):
    """`model` holds the average; it starts as a copy and moves by (1 - decay) per step."""

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.model: Model = copy.deepcopy(model)
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """average ← decay · average + (1 - decay) · weights."""
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - self.decay)
