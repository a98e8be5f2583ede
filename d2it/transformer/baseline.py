"""Plain DiT at D²iT's sizes: what the paper compares with."""

from d2it.transformer.content import SIZES
from d2it.transformer.dit import DiT

GRID, CHANNELS, CLASSES = 32, 4, 1000  # of the paper's models, 256 x 256 on ImageNet


def plain_dit(size: str, patch: int, *, activation_checkpointing: bool = False) -> DiT:
    """DiT with as many layers as D²iT of this size has in backbone and RefineNet."""
    s = SIZES[size]
    return DiT(
        layers=s["layers"] + s["refinenet_layers"], width=s["width"], heads=s["heads"], side=GRID, patch=patch,
        channels_in=CHANNELS, channels_out=2 * CHANNELS, classes=CLASSES,
        activation_checkpointing=activation_checkpointing,
    )  # fmt: skip
