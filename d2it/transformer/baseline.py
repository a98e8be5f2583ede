"""Plain DiT at D²iT's sizes: what the paper compares with."""

from d2it.size import Size
from d2it.transformer.content import SIZES
from d2it.transformer.dit import Blocks, DiT

GRID, CHANNELS, CLASSES = Size.of(32), 4, 1000  # of the paper's models, 256 x 256 on ImageNet


def plain_dit(size: str, patch: int, *, activation_checkpointing: bool = False) -> DiT:
    """DiT with as many layers as D²iT of this size has in backbone and RefineNet."""
    s = SIZES[size]
    layers = s["layers"] + s["refinenet_layers"]
    blocks = Blocks(layers=layers, width=s["width"], heads=s["heads"], recompute=activation_checkpointing)
    return DiT(blocks, grid=GRID, patch=patch, channels_in=CHANNELS, channels_out=2 * CHANNELS, classes=CLASSES)
