"""Dynamic Grain Transformer: p(grain map | class), so that sampling needs no image (paper section 3.2).

Our reading of the paper's few lines: grains are evenly spaced values in [-1, 1], diffused like the latents; a DiT on
the noisy map gives one logit per grain and region; the loss is the cross entropy to the clean map; the sampler uses the
mean of the softmax as x_0. Loss and sampler are in diffusion/grain.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2it.saved import load_model
from d2it.size import Size
from d2it.transformer.dit import Blocks, DiT


class DynamicGrainTransformer(nn.Module):
    """Logits of the clean grain map, given a noisy one.

    The defaults are a DiT-S (our reading) at 256 x 256 on ImageNet.
    """

    def __init__(
        self, *, layers: int = 12, width: int = 384, heads: int = 6, grains: int = 2,
        region_grid: int | Sequence[int] = 16, classes: int = 1000, dropout: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> None:  # fmt: skip
        """Args:
        layers: adaLN-Zero blocks.
        width: channels of a token, C.
        heads: attention heads; divides `width`.
        grains: k.
        region_grid: regions along a side of a square image; or [height, width], regions from top to bottom and across.
        classes: 0 for an unconditional model.
        dropout: after attention and inside the MLP.
        activation_checkpointing: recompute blocks in the backward pass; no part of the architecture.
        """
        super().__init__()
        self.grains, self.region_grid = grains, Size.of(region_grid)
        self.architecture: dict[str, Any] = {
            "layers": layers, "width": width, "heads": heads, "grains": grains, "region_grid": self.region_grid.plain,
            "classes": classes, "dropout": dropout,
        }  # fmt: skip
        blocks = Blocks(layers=layers, width=width, heads=heads, dropout=dropout, recompute=activation_checkpointing)
        self.dit = DiT(blocks, grid=self.region_grid, patch=1, channels_in=1, channels_out=grains, classes=classes)
        self.register_buffer("values", grain_values(grains), persistent=False)

    @property
    def no_class(self) -> int:
        """The label that means 'no class'; 0 for an unconditional model."""
        return self.dit.condition.no_class

    def forward(self, noisy_map: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """noisy_map (B, 1, h, w) float, t and labels (B,) -> logits (B, k, h, w)."""
        logits: Tensor = self.dit(noisy_map, t, labels)
        return logits

    def mean(self, logits: Tensor) -> Tensor:
        """Expected value of the clean map under the softmax: (B, k, h, w) -> (B, 1, h, w)."""
        values: Tensor = self.get_buffer("values")
        return torch.einsum("bkhw,k->bhw", logits.softmax(1), values)[:, None]


def grain_values(grains: int, device: torch.device | str = "cpu") -> Tensor:
    """Value of each grain, evenly spaced in [-1, 1], coarsest -1: (k,); one grain has value 0."""
    return torch.linspace(-1, 1, grains, device=device) if grains > 1 else torch.zeros(1, device=device)


def map_to_values(grain_map: Tensor, grains: int) -> Tensor:
    """Grain map (B, h, w) integer -> its values (B, 1, h, w) float32."""
    return grain_values(grains, grain_map.device)[grain_map.long()][:, None]


def load_grain(folder: Path | str, device: torch.device | str = "cpu") -> DynamicGrainTransformer:
    """The grain transformer that a folder holds, for inference.

    Raises:
        UnreadableFileError: the folder holds another model, one of another version, or a damaged one.
    """
    return load_model(DynamicGrainTransformer, folder, device)
