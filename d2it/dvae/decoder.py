"""Decoder: LDM's, from the regular grid of finest positions to the image."""

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from d2it.dvae.blocks import ResBlock, Upsample, middle, normalize


class Decoder(nn.Module):
    """(B, z, H/f_1, W/f_1) latents -> (B, 3, H, W) images, about [-1, 1]."""

    def __init__(
        self, channels: int, multipliers: Sequence[int], res_blocks: int, *, patch: int, latent_channels: int
    ) -> None:
        super().__init__()
        self.patch = patch
        widths = [channels * m for m in multipliers]
        self.conv_in = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.middle = middle(widths[-1])
        layers: list[nn.Module] = []
        before = widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            layers += [ResBlock(before if i == 0 else width, width) for i in range(res_blocks + 1)]
            if level > 0:
                layers.append(Upsample(width))
            before = width
        self.up = nn.Sequential(*layers)
        self.norm = normalize(channels * multipliers[0])
        self.activation = nn.SiLU()
        self.conv_out = nn.Conv2d(channels * multipliers[0], 3 * patch**2, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.up(self.middle(self.conv_in(latents)))
        x = self.conv_out(self.activation(self.norm(x)))
        images: Tensor = rearrange(x, "b (c p q) y x -> b c (y p) (x q)", p=self.patch, q=self.patch)
        return images
