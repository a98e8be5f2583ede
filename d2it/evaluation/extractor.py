"""What every extractor is: images in, features of each out, by a network whose weights are read as tensors alone."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from d2it.finite import require_finite


class Features(NamedTuple):
    """Features of a batch, float32, on the CPU."""

    pool: NDArray[np.float32]  # (B, width of the extractor): one vector per image; for all distances but sFID
    spatial: NDArray[np.float32] | None = None  # (B, 2023): for sFID; Inception alone
    probabilities: NDArray[np.float32] | None = None  # (B, 1008): for the Inception score; Inception alone


class Extractor(Protocol):
    """A network and what it does to images before; the same images give the same features."""

    name: str  # as in `fid.extractor`
    width: int  # of pool features
    identity: str  # all that features depend on: name, sha256 of the weights, version of what is done to images

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        """Features of images (B, H, W, 3) of any size.

        Raises:
            NonFiniteError: they hold NaN or infinity.
        """


@torch.inference_mode()
def infer(network: Callable[[Tensor], Tensor], images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """`network` of images uint8 (B, 3, H, W) on `device`; its first output, in float32, not in TF32, on the CPU."""
    writable = np.require(images, requirements="W")  # PyTorch warns of others, such as those of a file
    batch = rearrange(torch.from_numpy(writable), "b h w c -> b c h w").to(device)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return network(batch).float().cpu()


def finite_numpy(features: Tensor, extractor: str) -> NDArray[np.float32]:
    """Features of a batch, on the CPU.

    Raises:
        NonFiniteError: they hold NaN or infinity.
    """
    return require_finite(features, f"features of {extractor}").numpy()
