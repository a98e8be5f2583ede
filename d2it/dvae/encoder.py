"""Hierarchical encoder: one feature map and one head per grain (paper section 3.1)."""

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from d2it.dvae.blocks import Downsample, ResBlock, middle, normalize


class GrainHead(nn.Module):
    """Features of one grain to its codes: LDM's middle and output layers (one head per grain is our reading)."""

    def __init__(self, channels: int, channels_out: int) -> None:
        super().__init__()
        self.middle = middle(channels)
        self.norm = normalize(channels)
        self.activation = nn.SiLU()
        self.conv = nn.Conv2d(channels, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        codes: Tensor = self.conv(self.activation(self.norm(self.middle(x))))
        return codes


class HierarchicalEncoder(nn.Module):
    """LDM's encoder down to the smallest factor; for each further factor residual and then a downsampling block.

    Where `patch` is above 1, patches of pixels are folded into channels first: ours, for CPUs, where a level at full
    resolution costs most.

    (B, 3, H, W) in [-1, 1] -> codes by grain, coarsest first: list of (B, channels_out, H/factor, W/factor).
    """

    def __init__(
        self, channels: int, multipliers: Sequence[int], res_blocks: int, *, patch: int, factors: Sequence[int],
        channels_out: int,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.patch = patch
        self.conv_in = nn.Conv2d(3 * patch**2, channels, 3, padding=1)
        layers: list[nn.Module] = []
        for level, width in enumerate(widths):
            before = channels if level == 0 else widths[level - 1]
            if level > 0:
                layers.append(Downsample(before))
            layers += [ResBlock(before if i == 0 else width, width) for i in range(res_blocks)]
        self.trunk = nn.Sequential(*layers)
        self.coarser = nn.ModuleList(
            nn.Sequential(*[ResBlock(widths[-1], widths[-1]) for _ in range(res_blocks)], Downsample(widths[-1]))
            for _ in factors[1:]
        )
        self.heads = nn.ModuleList(GrainHead(widths[-1], channels_out) for _ in factors)  # finest first

    def start_with_log_variance(self, value: float) -> None:
        """Set the biases of the second half of each head's channels, the log-variances of a posterior."""
        for head in self.heads:
            assert isinstance(head, GrainHead)
            assert head.conv.bias is not None
            nn.init.constant_(head.conv.bias[len(head.conv.bias) // 2 :], value)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = rearrange(images, "b c (y p) (x q) -> b (c p q) y x", p=self.patch, q=self.patch)
        x = self.trunk(self.conv_in(x))
        features = [x]
        for block in self.coarser:
            features.append(block(features[-1]))
        codes = [head(x) for head, x in zip(self.heads, features, strict=True)]
        return codes[::-1]
