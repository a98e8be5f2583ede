"""Features of EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet, whose weights come with a Python package.

Its distances are not FID and never carry that name: they compare what one extractor sees, with numbers of its own.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from d2it.evaluation.extractor import Features, finite_numpy, infer, read_tensors
from d2it.weights import EFFICIENTNET_LITE0, WeightsError, installed

WIDTH, SIDE = 1280, 224
PREPROCESSING = 1  # resized as floats, bilinear with antialiasing, then (x - 127) / 128; raise it when that changes


class EfficientNetFeatures:
    """timm's `tf_efficientnet_lite0`; images of another shape are stretched to a square."""

    name = "efficientnet_lite0"
    width = WIDTH
    identity = f"efficientnet_lite0 {EFFICIENTNET_LITE0.sha256} {PREPROCESSING}"

    def __init__(self, weights: Path, device: torch.device) -> None:
        """`weights`: the package's file.

        Raises:
            WeightsError: it holds anything but this network's tensors.
        """
        import timm  # takes 4 s, which only those pay who ask for this extractor

        with torch.device("meta"):  # shapes alone: nothing is drawn from the global generator
            network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        network.load_state_dict(_renamed(read_tensors(weights), network.state_dict(), weights), assign=True)
        network.requires_grad_(False).eval().to(device)
        self.network: Any = network.to(memory_format=torch.channels_last)
        self._device = device

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        """Features of images (B, H, W, 3): pool (B, 1280), the average over places of the last layer before classes.

        Raises:
            NonFiniteError: they hold NaN or infinity.
        """
        return Features(finite_numpy(infer(self._pool, images, self._device), self.name))

    def _pool(self, images: Tensor) -> Tensor:
        resized = functional.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
        features: Tensor = self.network.forward_features((resized - 127) / 128)  # (B, 1280, 7, 7)
        return features.mean((2, 3))


def open_efficientnet(device: torch.device) -> EfficientNetFeatures:
    """The extractor, from the installed package's file, which is known by its sha256; none of its code is run.

    Raises:
        WeightsError: the package is not installed, or has another file.
    """
    return EfficientNetFeatures(installed(EFFICIENTNET_LITE0), device)


def _renamed(given: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """`given` under the names of `wanted`: the same tensors in the same order, by other names.

    Raises:
        WeightsError: they are not the same by number, shape and last part of the name.
    """
    signatures = [[(name.split(".")[-1], x.shape) for name, x in tensors.items()] for tensors in (given, wanted)]
    if signatures[0] != signatures[1]:
        raise WeightsError(f"{path}: must hold the {len(wanted)} tensors of EfficientNet-Lite0, in its order")
    return dict(zip(wanted, given.values(), strict=True))
