"""Exponential moving average of weights, in float32 as the weights themselves.

Ours: PyTorch's AveragedModel adds a counter and a prefix to the names of what is saved.
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class EMA(Generic[Model]):
    """`model` holds the average; it starts as a copy of the initial weights."""

    def __init__(self, model: Model, decay: float) -> None:
        """`decay`: per step, once training is long enough for it; see `decay_at`."""
        self.decay = decay
        self.model: Model = copy.deepcopy(model)
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: Model, step: int) -> None:
        """average ← decay_at(step) · average + (1 - decay_at(step)) · weights, after step 0, 1, ..."""
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay_at(step, self.decay))


def decay_at(step: int, decay: float) -> float:
    """min(decay, (1 + step) / (10 + step)): the average forgets its start, and looks back over a tenth of training.

    Our reading: DiT's 0.9999 from the first step leaves 0.31 of the initial weights in the average after 11,719 steps,
    50 epochs of FFHQ. A pure function of the step, so that resuming needs no state.
    """
    return min(decay, (1 + step) / (10 + step))
