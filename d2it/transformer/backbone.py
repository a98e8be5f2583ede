"""The DiT backbone: global attention on patches of the noisy latent, and DiT itself, made of backbone and head."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2it.params import Transformer
from d2it.transformer.block import AdaLNZeroBlock, Head
from d2it.transformer.embeddings import Condition, sincos_positions
from d2it.transformer.initialize import initialize
from d2it.transformer.layout import DenseTokens, Layout


def run_blocks(blocks: nn.ModuleList, x: Tensor, condition: Tensor, layout: Layout, recompute: bool) -> Tensor:
    """Tokens through all blocks; with `recompute`, activations inside a block are not kept for the backward pass."""
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, condition, layout, use_reentrant=False)
        else:
            x = block(x, condition, layout)
    return x


class Backbone(nn.Module):
    """Patches to tokens, fixed sin-cos positions, adaLN-Zero blocks with global attention."""

    def __init__(self, config: Transformer, side: int, patch: int, channels_in: int) -> None:
        """`side`: of the grid z; tokens = (side / patch)²."""
        super().__init__()
        self.recompute = config.activation_checkpointing
        self.embed = nn.Conv2d(channels_in, config.width, patch, stride=patch)
        self.register_buffer("position", sincos_positions(config.width, side // patch), persistent=False)
        self.blocks = nn.ModuleList(
            AdaLNZeroBlock(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """z (B, channels_in, side, side), condition (B, C) -> tokens (B, N, C), row by row."""
        x = self.embed(z).flatten(2).transpose(1, 2) + self.position  # (B, N, C)
        return run_blocks(self.blocks, x, condition, DenseTokens(), self.recompute)


def unpatchify(x: Tensor, patch: int) -> Tensor:
    """Tokens (B, N, patch²·C) -> grid (B, C, side·patch, side·patch), N = side²."""
    B, N, _ = x.shape
    side = round(N**0.5)
    x = x.view(B, side, side, patch, patch, -1)
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


class DiT(nn.Module):
    """DiT (Peebles and Xie, 2023): the grain transformer, and the plain transformer that the paper compares with."""

    def __init__(
        self, config: Transformer, side: int, patch: int, channels_in: int, channels_out: int, classes: int
    ) -> None:
        super().__init__()
        self.patch = patch
        self.condition = Condition(config.width, classes)
        self.backbone = Backbone(config, side, patch, channels_in)
        self.head = Head(config.width, patch**2 * channels_out)
        initialize(self)

    def forward(self, z: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """z (B, channels_in, side, side), t and labels (B,) -> (B, channels_out, side, side) float32."""
        condition = self.condition(t, labels)
        x = self.head(self.backbone(z, condition), condition, DenseTokens())  # (B, N, patch²·channels_out)
        return unpatchify(x, self.patch).float()
