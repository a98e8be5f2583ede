"""Dynamic Content Transformer: noise at every grain (paper section 3.2).

A DiT backbone on the coarsest tokens sees the whole image; routing hands the tokens of finer regions to a RefineNet
for each finer grain; each code's noise comes from its own grain.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from d2it.grain.codes import combine, copies_per_side
from d2it.saved import load_model
from d2it.size import Size
from d2it.transformer.dit import Backbone, Blocks, Condition, Head, initialize, run_blocks, sincos_positions, unpatchify
from d2it.transformer.routing import DenseTokens, Route, gather, plan_routes

# B, L and XL are the paper's (tables 1 and 2), 'backbone + RefineNet' layers; S is the demo's (ours).
SIZES: dict[str, dict[str, Any]] = {
    "S": {"layers": 4, "refinenet_layers": 2, "width": 128, "heads": 4},
    "B": {"layers": 10, "refinenet_layers": 2, "width": 768, "heads": 12},
    "L": {"layers": 20, "refinenet_layers": 4, "width": 1024, "heads": 16},
    "XL": {"layers": 22, "refinenet_layers": 6, "width": 1152, "heads": 16},
}


class RefineNet(nn.Module):
    """Efficient RefineNet for one finer grain: each token of the coarser grid becomes 2 x 2 tokens, refined in windows.

    Fine regions alone are computed. Four additions to DiT's parts are our reading, and give the paper's parameter
    counts: the expansion (C -> 4C), the patch embedding of z_t joined with it (2C -> C), the learnable positions, and
    an own head.
    """

    def __init__(
        self, blocks: Blocks, *, grid: Size, patch: int, latent_channels: int, channels_out: int,
        position: Literal["learnable", "fixed"],
    ) -> None:  # fmt: skip
        """`grid`: of this grain; `patch`: finest positions along a side of one of its codes (1 = finest)."""
        super().__init__()
        C = blocks.width
        self.grid, self.patch, self.recompute = grid, patch, blocks.recompute
        self.embed = nn.Linear(patch**2 * latent_channels, C)
        self.expand = nn.Linear(C, 4 * C)
        self.join = nn.Linear(2 * C, C)
        fixed = sincos_positions(C, grid)
        if position == "learnable":
            self.position: Tensor = nn.Parameter(torch.empty_like(fixed).normal_(std=0.02))
        else:
            self.register_buffer("position", fixed, persistent=False)
        self.blocks = blocks.build()
        self.head = Head(C, channels_out)

    def forward(self, z: Tensor, coarser: Tensor, route: Route, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the tokens of `route`.

        Args:
            z: z_t, (B, latent_channels, h, w) on the finest grid.
            coarser: the coarser grain's tokens, a flat list (m', C).
            condition: (B, C).

        Returns:
            The head's output on this grain's grid, (B, channels_out, *grid), zero where no token was computed, and
            the tokens (n, C) for the next finer grain.
        """
        B, grid, position = len(z), self.grid, route.tokens.position
        children = rearrange(self.expand(gather(coarser, route.parent)), "m (four c) -> (m four) c", four=4)
        patches = rearrange(z, "b c (y p) (x q) -> (b y x) (c p q)", p=self.patch, q=self.patch)
        x = self.join(torch.cat([gather(children, route.child), self.embed(gather(patches, position))], 1))  # (n, C)
        x = x + gather(self.position, position % grid.area)
        x = run_blocks(self.blocks, x, condition, route.tokens, recompute=self.recompute)
        out = self.head(x, condition, route.tokens)  # (n, channels_out)
        dense = out.new_zeros(B * grid.area, out.shape[1]).index_copy(0, position, out)
        return rearrange(dense, "(b y x) c -> b c y x", y=grid.height, x=grid.width), x


class DynamicContentTransformer(nn.Module):
    """Predicts noise and variance of multi-grained z_t, given the grain map.

    The defaults are D²iT-B at 256 x 256 on ImageNet; `DynamicContentTransformer(**SIZES["XL"])` is another size.
    """

    def __init__(
        self, *, layers: int = 10, width: int = 768, heads: int = 12, refinenet_layers: int = 2,
        window: int | Literal["full"] = 16, tokens: Literal["fine", "all"] = "fine",
        position: Literal["learnable", "fixed"] = "learnable", factors: Sequence[int] = (8, 16),
        latent_grid: int | Sequence[int] = 32, latent_channels: int = 4, classes: int = 1000,
        dropout: float = 0.0, qk_norm: bool = False, activation_checkpointing: bool = False,
    ) -> None:  # fmt: skip
        """Args:
        layers: adaLN-Zero blocks of the backbone.
        width: channels of a token, C.
        heads: attention heads; divides `width`.
        refinenet_layers: adaLN-Zero blocks of each RefineNet; 0 = no RefineNet, fine noise from the backbone's head.
        window: side of RefineNet's attention windows, finest codes, which divides the grid in both directions; or
            'full', one window as large as the grid.
        tokens: what RefineNet computes: the tokens of fine regions, or of all regions.
        position: RefineNet's position embedding: learnable (paper), or sin-cos.
        factors: downsampling factors of the grains, ascending.
        latent_grid: finest codes along a side of a square image; or [height, width], from top to bottom and across.
        latent_channels: channels of a code, z.
        classes: 0 for an unconditional model.
        dropout: after attention and inside the MLP; 0.1 in the paper's training.
        qk_norm: RMS-normalise queries and keys per head; not in the paper.
        activation_checkpointing: recompute blocks in the backward pass; no part of the architecture.
        """
        super().__init__()
        finest = Size.of(latent_grid)
        self.architecture: dict[str, Any] = {
            "layers": layers, "width": width, "heads": heads, "refinenet_layers": refinenet_layers, "window": window,
            "tokens": tokens, "position": position, "factors": list(factors), "latent_grid": finest.plain,
            "latent_channels": latent_channels, "classes": classes, "dropout": dropout,
            "qk_norm": qk_norm,
        }  # fmt: skip
        self.copies = copies_per_side(factors)
        patch = self.copies[0]
        channels_out = 2 * latent_channels  # noise, and the learned variance as in DiT
        self.condition = Condition(width, classes)
        blocks = Blocks(
            layers=layers, width=width, heads=heads, dropout=dropout, qk_norm=qk_norm,
            recompute=activation_checkpointing,
        )  # fmt: skip
        self.backbone = Backbone(blocks, grid=finest, patch=patch, channels_in=latent_channels)
        finer = self.copies[1:] if refinenet_layers > 0 else []
        self.all_tokens = tokens == "all"
        self.grids = [finest.divided(n) for n in (patch, *finer)]  # the backbone's tokens, and each RefineNet's
        finest_window = finest if window == "full" else Size.of(window)
        fits = all(length % side == 0 for length, side in zip(finest, finest_window, strict=True))
        if finer and (min(finest_window) < patch or not fits):
            raise ValueError(f"window {window}: must divide latent_grid, {finest.plain}, and hold whole regions")
        if tokens not in ("fine", "all"):
            raise ValueError(f"tokens {tokens!r}: must be 'fine' or 'all'")
        self.windows = [finest_window.divided(n) for n in finer]  # the same part of the image at each grain
        refining = replace(blocks, layers=refinenet_layers)
        channels = {"latent_channels": latent_channels, "channels_out": channels_out}
        self.refinenets = nn.ModuleList(
            RefineNet(refining, grid=finest.divided(n), patch=n, position=position, **channels) for n in finer
        )
        self.head = Head(width, channels_out if finer else patch**2 * channels_out)
        initialize(self)

    @property
    def no_class(self) -> int:
        """The label that means 'no class'; 0 for an unconditional model."""
        return self.condition.no_class

    def route(self, grain_map: Tensor) -> list[Route]:
        """Which tokens the RefineNets compute for these grain maps (B, h / S, w / S); planned on the CPU."""
        planned = plan_routes(grain_map.cpu().numpy(), self.grids, self.windows, self.all_tokens)
        return [route.to(grain_map.device) for route in planned]

    def forward(
        self, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor, *, routes: Sequence[Route] | None = None
    ) -> Tensor:
        """Args:
            z: z_t, (B, latent_channels, h, w), constant inside coarse regions.
            t: timesteps (B,), 0..T-1.
            labels: (B,), number `classes` = no class.
            grain_map: (B, h / S, w / S), 0 = coarsest.
            routes: `self.route(grain_map)`, where the caller has it already.

        Returns:
            (B, 2·latent_channels, h, w) float32, constant inside coarse regions: noise (v, velocity), then variance.
        """
        condition = self.condition(t, labels)
        x = self.backbone(z, condition)  # (B, N, C)
        out = self.head(x, condition, DenseTokens())
        if not self.refinenets:
            return self._from_head(unpatchify(out.float(), self.grids[0], self.copies[0]), grain_map)
        grids = [unpatchify(out, self.grids[0], 1)]  # (B, 2c, H/S, W/S)
        tokens = rearrange(x, "b n c -> (b n) c")
        planned = self.route(grain_map) if routes is None else routes
        for refinenet, route in zip(self.refinenets, planned, strict=True):
            grid, tokens = refinenet(z, tokens, route, condition)
            grids.append(grid)
        return combine([grid.float() for grid in grids], grain_map)

    def _from_head(self, grid: Tensor, grain_map: Tensor) -> Tensor:
        """Without RefineNet (the paper's 'w/o'): a finest grid from DiT's head; a copied code takes its mean."""
        return combine([F.avg_pool2d(grid, n) if n > 1 else grid for n in self.copies], grain_map)


def load_content(folder: Path | str, device: torch.device | str = "cpu") -> DynamicContentTransformer:
    """The content transformer that a folder holds, for inference.

    Raises:
        UnreadableFileError: the folder holds another model, one of another version, or a damaged one.
    """
    return load_model(DynamicContentTransformer, folder, device)
