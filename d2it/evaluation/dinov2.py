"""DINOv2 features (Oquab et al. 2023): class tokens of ViT-L/14, for FD-DINOv2 (Stein et al. 2023).

Images are prepared by torch-fidelity 0.4. It takes the network itself from code that it downloads; here it is timm's.
"""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from d2it.evaluation.extractor import Features, finite_numpy, infer
from d2it.networks import read_tensors
from d2it.weights import DINOV2, WeightsError, locate

WIDTH = 1024
PATCHES = 16  # along a side of 224 pixels
TRAINED_PATCHES = 37  # along a side of the 518 pixels that the published position embedding is for
PREPROCESSING = 1  # torch-fidelity's: resized to 224 x 224 as TensorFlow 1 did; raise it when that changes


class DinoFeatures:
    """The network with images prepared as in torch-fidelity."""

    name = "dinov2"
    width = WIDTH

    def __init__(self, network: nn.Module, sha256: str, device: torch.device) -> None:
        """`network`: from `load_dinov2`; `sha256`: of its file."""
        self.identity = f"{self.name} {sha256} {PREPROCESSING}"
        self._prepared = _Prepared(network).requires_grad_(False).eval().to(device)
        self._device = device

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        """Features of images (B, H, W, 3): pool (B, 1024), the normalised class token.

        Raises:
            NonFiniteError: they hold NaN or infinity.
        """
        return Features(finite_numpy(infer(lambda batch: self._prepared(batch)[0], images, self._device), self.name))


class _Prepared(FeatureExtractorDinoV2):  # type: ignore[misc]  # torch-fidelity has no types
    """torch-fidelity's extractor around a network of ours: its own constructor would download one, with its code."""

    def __init__(self, network: nn.Module) -> None:
        FeatureExtractorBase.__init__(self, "dinov2-vit-l-14", ["dinov2"])
        self.feature_extractor_internal_dtype = torch.float32
        self.model = network


def open_dinov2(weights: Path, device: torch.device) -> DinoFeatures:
    """The extractor, from the published file in the folder `weights`.

    Raises:
        WeightsError: the file is missing or wrong.
    """
    return DinoFeatures(load_dinov2(locate(DINOV2, weights)), DINOV2.sha256, device)


def load_dinov2(path: Path) -> nn.Module:
    """timm's ViT-L/14 for 224 x 224 pixels, with the published weights.

    timm has the names of the publication, but no mask token, which only training uses. The position embedding is made
    smaller as the published code makes it, which differs from timm's way.

    Raises:
        WeightsError: the file holds another network.
    """
    import timm  # takes 4 s, which only those pay who ask for this extractor

    with torch.device("meta"):  # shapes alone: nothing is drawn from the global generator
        network: nn.Module = timm.create_model("vit_large_patch14_dinov2", pretrained=False, img_size=14 * PATCHES)
    weights = read_tensors(path)
    weights.pop("mask_token", None)
    wanted = {name: x.shape for name, x in network.state_dict().items()}
    wanted["pos_embed"] = torch.Size((1, 1 + TRAINED_PATCHES**2, WIDTH))
    for name, shape in wanted.items():
        if name not in weights or weights[name].shape != shape:
            raise WeightsError(f"{path}: {name}: must be a tensor {tuple(shape)}, as in DINOv2's ViT-L/14")
    if more := sorted(weights.keys() - wanted.keys()):
        raise WeightsError(f"{path}: {more[0]}: not in DINOv2's ViT-L/14 without registers")
    weights["pos_embed"] = _smaller_grid(weights["pos_embed"])
    network.load_state_dict(weights, assign=True)
    return network


def _smaller_grid(embedding: Tensor) -> Tensor:
    """The position embedding (1, 1 + 37², 1024), class token first, for (1, 1 + 16², 1024).

    Bicubic, by the factor (16 + 0.1) / 37: the published code adds 0.1 against rounding, which also moves the grid.
    """
    first, grid = embedding[:, :1], embedding[:, 1:]
    grid = rearrange(grid, "b (h w) c -> b c h w", h=TRAINED_PATCHES)
    factor = (PATCHES + 0.1) / TRAINED_PATCHES
    grid = functional.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([first, rearrange(grid, "b c h w -> b (h w) c")], dim=1)
