"""Dynamic Content Transformer: noise at every grain (paper section 3.2).

A DiT backbone on the coarsest tokens sees the whole image; routing hands the tokens of finer regions to a RefineNet
for each finer grain; each code's noise comes from its own grain.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2it.grain.codes import combine, copies_per_side
from d2it.params import Content
from d2it.params import RefineNet as RefineNetParams
from d2it.transformer.backbone import Backbone, unpatchify
from d2it.transformer.block import Head
from d2it.transformer.embeddings import Condition
from d2it.transformer.initialize import initialize
from d2it.transformer.layout import DenseTokens
from d2it.transformer.refinenet import RefineNet
from d2it.transformer.routing import Route, plan_routes


class DynamicContentTransformer(nn.Module):
    """Predicts noise and variance of multi-grained z_t, given the grain map."""

    def __init__(
        self,
        config: Content,
        refinenet: RefineNetParams,
        factors: list[int],
        latent_grid: int,
        latent_channels: int,
        classes: int,
    ) -> None:
        """`latent_grid`: finest codes along a side of the image; `classes`: 0 for an unconditional model."""
        super().__init__()
        self.copies = copies_per_side(factors)
        patch = self.copies[0]
        channels_out = 2 * latent_channels  # noise, and the learned variance as in DiT
        self.condition = Condition(config.width, classes)
        self.backbone = Backbone(config, latent_grid, patch, latent_channels)
        finer = self.copies[1:] if refinenet.layers > 0 else []
        self.all_tokens = refinenet.tokens == "all"
        self.sides = [latent_grid // n for n in finer]
        window = latent_grid if refinenet.window == "full" else refinenet.window
        self.windows = [max(1, window // n) for n in finer]  # the same part of the image at each grain
        self.refinenets = nn.ModuleList(
            RefineNet(config, refinenet, latent_grid // n, n, latent_channels, channels_out) for n in finer
        )
        self.head = Head(config.width, channels_out if finer else patch**2 * channels_out)
        initialize(self)

    def route(self, grain_map: Tensor) -> list[Route]:
        """Which tokens the RefineNets compute for these grain maps (B, h / S, w / S)."""
        return plan_routes(grain_map, self.sides, self.windows, self.all_tokens)

    def forward(
        self, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor, routes: Sequence[Route] | None = None
    ) -> Tensor:
        """Args:
            z: z_t, (B, latent_channels, h, w), constant inside coarse regions.
            t: timesteps (B,), 0..T-1.
            labels: (B,), number `classes` = no class.
            grain_map: (B, h / S, w / S), 0 = coarsest.
            routes: `self.route(grain_map)`, where the caller has it already.

        Returns:
            (B, 2·latent_channels, h, w) float32, constant inside coarse regions: noise (or v), then variance.
        """
        condition = self.condition(t, labels)
        x = self.backbone(z, condition)  # (B, N, C)
        out = self.head(x, condition, DenseTokens())
        if not self.refinenets:
            return self._from_head(unpatchify(out.float(), self.copies[0]), grain_map)
        grids = [unpatchify(out, 1)]  # (B, 2c, side, side)
        tokens = x.flatten(0, 1)  # (B·N, C)
        planned = self.route(grain_map) if routes is None else routes
        for refinenet, route in zip(self.refinenets, planned, strict=False):  # no route where no region is so fine
            grid, tokens = refinenet(z, tokens, route, condition)
            grids.append(grid)
        absent = out.new_zeros(1, 1, *z.shape[2:])
        grids += [absent] * (len(self.copies) - len(grids))
        return combine([grid.float() for grid in grids], grain_map)

    def _from_head(self, grid: Tensor, grain_map: Tensor) -> Tensor:
        """Without RefineNet (the paper's 'w/o'): a finest grid from DiT's head; a copied code takes its mean."""
        return combine([nn.functional.avg_pool2d(grid, n) if n > 1 else grid for n in self.copies], grain_map)


def build_content(config: dict[str, Any]) -> DynamicContentTransformer:
    """A content transformer with initial weights, from a config.json (sections of params and the data's sizes)."""
    return DynamicContentTransformer(
        Content.model_validate(config["content"]),
        RefineNetParams.model_validate(config["refinenet"]),
        config["factors"],
        config["latent_grid"],
        config["latent_channels"],
        config["classes"],
    )
