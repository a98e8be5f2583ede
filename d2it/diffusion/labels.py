"""Label dropout for classifier-free guidance."""

import torch
from torch import Tensor


def drop_labels(labels: Tensor, share: float, no_class: int, generator: torch.Generator) -> Tensor:
    """Replace labels (B,) by 'no class', each with probability `share`; an unconditional model knows no other."""
    if no_class == 0:
        return torch.zeros_like(labels)
    dropped = torch.rand(labels.shape, generator=generator, device=labels.device) < share
    return torch.where(dropped, no_class, labels)
