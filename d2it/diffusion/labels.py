"""Label dropout for classifier-free guidance."""

import torch
from torch import Tensor


def drop_labels(labels: Tensor, share: float, no_class: int, place: Tensor) -> Tensor:
    """Replace labels (B,) by 'no class' where `place` (B,), drawn from U[0, 1), is below `share`.

    An unconditional model knows no other label.
    """
    if no_class == 0:
        return torch.zeros_like(labels)
    return torch.where(place < share, no_class, labels)
