"""Efficient RefineNet: fine noise for the regions that are fine, and no work for the others (paper section 3.2)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from d2it.params import Content
from d2it.params import RefineNet as RefineNetParams
from d2it.transformer.backbone import run_blocks
from d2it.transformer.block import AdaLNZeroBlock, Head
from d2it.transformer.embeddings import sincos_positions
from d2it.transformer.layout import pack


class Tokens(NamedTuple):
    """Tokens in a flat list, and where each position of their grid stands in it."""

    x: Tensor  # (n, C)
    row: Tensor  # (B, side, side) int64, row of a position's token in x; only read where there is one


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
        self.all_tokens = refinenet.tokens == "all"
        self.window = side if refinenet.window == "full" else max(1, refinenet.window // patch)
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

    def forward(self, z: Tensor, coarser: Tokens, fine: Tensor, condition: Tensor) -> tuple[Tensor, Tokens] | None:
        """Refine the regions that are at least of this grain.

        Args:
            z: z_t, (B, latent_channels, h, w) on the finest grid.
            coarser: the tokens of the grid of half this side.
            fine: (B, regions, regions) bool, the regions to refine.
            condition: (B, C).

        Returns:
            The head's output on this grain's grid, (B, channels_out, side, side), defined where a token was computed
            and zero elsewhere, and the tokens for the next finer grain; None where no region is to be refined.
        """
        if not fine.any():
            return None
        B, side = len(z), self.side
        times = side // fine.shape[-1]
        chosen = fine.repeat_interleave(times, 1).repeat_interleave(times, 2)
        layout = pack(torch.ones_like(chosen) if self.all_tokens else chosen, self.window)
        flat = layout.position  # (n,)
        x = self._expanded(coarser, flat)  # (n, C)
        patches = z.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)  # (B, c, side, side, p, p)
        patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)  # (B·side², c·p²)
        x = self.join(torch.cat([x, self.embed(patches[flat])], 1)) + self.position[flat % side**2]
        x = run_blocks(self.blocks, x, condition, layout, self.recompute)
        out = self.head(x, condition, layout)  # (n, channels_out)
        grid = out.new_zeros(B * side**2, out.shape[1]).index_copy(0, flat, out)
        row = torch.zeros(B * side**2, dtype=torch.int64, device=z.device)
        row[flat] = torch.arange(len(flat), device=z.device)
        return grid.view(B, side, side, -1).permute(0, 3, 1, 2), Tokens(x, row.view(B, side, side))

    def _expanded(self, coarser: Tokens, flat: Tensor) -> Tensor:
        """Each coarser token that has a chosen child gives its 2 x 2 children: chosen children in order, (n, C)."""
        side = self.side
        image, row, column = flat // side**2, flat // side % side, flat % side
        parent = coarser.row[image, row // 2, column // 2]  # (n,)
        parents, index = torch.unique(parent, return_inverse=True)
        children: Tensor = self.expand(coarser.x[parents]).unflatten(1, (4, -1)).flatten(0, 1)  # (parents·4, C)
        return children[index * 4 + row % 2 * 2 + column % 2]
