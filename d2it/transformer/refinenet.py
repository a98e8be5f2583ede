"""Efficient RefineNet: fine noise for the regions that are fine, and no work for the others (paper section 3.2)."""

import torch
from torch import Tensor, nn

from d2it.params import Content
from d2it.params import RefineNet as RefineNetParams
from d2it.transformer.backbone import run_blocks
from d2it.transformer.block import AdaLNZeroBlock, Head
from d2it.transformer.embeddings import sincos_positions
from d2it.transformer.layout import rows
from d2it.transformer.routing import Route


class RefineNet(nn.Module):
    """One finer grain: each token of the coarser grid becomes 2 x 2 tokens, refined inside windows.

    Four additions to DiT's parts are our reading, and give the paper's parameter counts: the expansion (C -> 4C), the
    patch embedding of z_t joined with it (2C -> C), the learnable positions, and an own head.
    """

    def __init__(
        self,
        config: Content,
        refinenet: RefineNetParams,
        side: int,
        patch: int,
        latent_channels: int,
        channels_out: int,
    ) -> None:
        """`side`: of this grain's grid; `patch`: finest positions along a side of one of its codes (1 = finest)."""
        super().__init__()
        C = config.width
        self.side, self.patch, self.recompute = side, patch, config.activation_checkpointing
        self.embed = nn.Linear(patch**2 * latent_channels, C)
        self.expand = nn.Linear(C, 4 * C)
        self.join = nn.Linear(2 * C, C)
        position = sincos_positions(C, side)
        if config.position == "learnable":
            self.position: Tensor = nn.Parameter(torch.empty_like(position).normal_(std=0.02))
        else:
            self.register_buffer("position", position, persistent=False)
        self.blocks = nn.ModuleList(AdaLNZeroBlock(C, config.heads, config.dropout) for _ in range(refinenet.layers))
        self.head = Head(C, channels_out)

    def forward(self, z: Tensor, coarser: Tensor, route: Route, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the tokens of `route`.

        Args:
            z: z_t, (B, latent_channels, h, w) on the finest grid.
            coarser: the coarser grain's tokens, a flat list (m', C).
            condition: (B, C).

        Returns:
            The head's output on this grain's grid, (B, channels_out, side, side), zero where no token was computed, and
            the tokens (n, C) for the next finer grain.
        """
        B, position = len(z), route.tokens.position
        children = self.expand(rows(coarser, route.parent)).unflatten(1, (4, -1)).flatten(0, 1)  # (m·4, C)
        embedded = self.embed(rows(self._patches(z), position))  # (n, C)
        x = self.join(torch.cat([rows(children, route.child), embedded], 1))
        x = x + rows(self.position, position % self.side**2)
        x = run_blocks(self.blocks, x, condition, route.tokens, self.recompute)
        out = self.head(x, condition, route.tokens)  # (n, channels_out)
        grid = out.new_zeros(B * self.side**2, out.shape[1]).index_copy(0, position, out)
        return grid.view(B, self.side, self.side, -1).permute(0, 3, 1, 2), x

    def _patches(self, z: Tensor) -> Tensor:
        """What each position of this grain's grid sees of z: (B·side², latent_channels·patch²)."""
        patches = z.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)  # (B, c, side, side, p, p)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
