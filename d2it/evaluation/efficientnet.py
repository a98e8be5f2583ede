"""Features of EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet, whose weights come with a Python package.

Its distances are not FID and never carry that name: they compare what one extractor sees, with numbers of its own.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from d2it.evaluation.extractor import Features, finite_numpy, infer
from d2it.networks import efficientnet_lite0
from d2it.weights import EFFICIENTNET_LITE0, installed

WIDTH, SIDE = 1280, 224
PREPROCESSING = 1  # resized as floats, bilinear with antialiasing, then (x - 127) / 128; raise it when that changes


class EfficientNetFeatures:
    """timm's `tf_efficientnet_lite0`; all images are stretched to its square."""

    name = "efficientnet_lite0"
    width = WIDTH
    identity = f"efficientnet_lite0 {EFFICIENTNET_LITE0.sha256} {PREPROCESSING}"

    def __init__(self, weights: Path, device: torch.device) -> None:
        """`weights`: the package's file.

        Raises:
            WeightsError: it holds anything but this network's tensors.
        """
        self.network = efficientnet_lite0(weights).to(device)
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
