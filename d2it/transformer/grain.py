"""Dynamic Grain Transformer: p(grain map | class), so that sampling needs no image (paper section 3.2).

Our reading of the paper's few lines: grains are evenly spaced values in [-1, 1], diffused like the latents; a DiT on
the noisy map gives a logit a grain and region; the loss is the cross entropy to the clean map; the sampler uses the
mean of the softmax as x_0.
"""

from typing import Any

import torch
from torch import Tensor, nn

from d2it.params import DGT
from d2it.transformer.backbone import DiT


class DynamicGrainTransformer(nn.Module):
    """Logits of the clean grain map, given a noisy one."""

    def __init__(self, config: DGT, grains: int, region_grid: int, classes: int) -> None:
        super().__init__()
        self.dit = DiT(config, region_grid, 1, 1, grains, classes)
        self.register_buffer("values", grain_values(grains), persistent=False)

    @property
    def no_class(self) -> int:
        """The label that means 'no class'."""
        return self.dit.condition.no_class

    def forward(self, noisy_map: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """noisy_map (B, 1, h, w) float, t and labels (B,) -> logits (B, k, h, w)."""
        logits: Tensor = self.dit(noisy_map, t, labels)
        return logits

    def mean(self, logits: Tensor) -> Tensor:
        """Expected value of the clean map under the softmax: (B, k, h, w) -> (B, 1, h, w)."""
        values: Tensor = self.get_buffer("values")
        return torch.einsum("bkhw,k->bhw", logits.softmax(1), values)[:, None]


def grain_values(grains: int) -> Tensor:
    """Value of each grain, evenly spaced in [-1, 1], coarsest -1: (k,); one grain has value 0."""
    return torch.linspace(-1, 1, grains) if grains > 1 else torch.zeros(1)


def map_to_values(grain_map: Tensor, grains: int) -> Tensor:
    """Grain map (B, h, w) integer -> its values (B, 1, h, w) float32."""
    return grain_values(grains).to(grain_map.device)[grain_map.long()][:, None]


def build_grain(config: dict[str, Any]) -> DynamicGrainTransformer:
    """A grain transformer with initial weights, from a config.json (section of params and the data's sizes)."""
    dgt = DGT.model_validate(config["dgt"])
    return DynamicGrainTransformer(dgt, config["grains"], config["region_grid"], config["classes"])
