"""Pictures that are drawn while a model trains, and leave no trace in it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from d2it.errors import UserError
from d2it.training.run import TrainingRun


def draw_preview(run: TrainingRun, models: Sequence[nn.Module], seen: int) -> None:
    """`run.preview`, if there is one; what cannot be drawn or measured, as numbers that overflow or a distance between
    too few images, ends no training."""
    if run.preview is None:
        return
    try:
        with undisturbed(models, run.device):
            run.preview(seen)
    except (UserError, RuntimeError, ValueError) as error:
        print(f"{run.label}: no preview at {seen} images: {error}", flush=True)


@contextmanager
def undisturbed(models: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Models in evaluation mode, without gradients; then each part's mode and the global random state are as before."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
