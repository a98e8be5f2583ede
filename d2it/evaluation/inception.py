"""Inception features of images, as the ADM evaluator takes them; the Frechet distance of its pool features is FID."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from d2it.evaluation.extractor import Features, finite_numpy, infer
from d2it.networks import read_tensors
from d2it.weights import INCEPTION, WeightsError, locate

POOL, SPATIAL, CLASSES = 2048, 7 * 17 * 17, 1008
PREPROCESSING = 1  # torch-fidelity's: resized to 299 x 299 as TensorFlow 1 did; raise it when that changes


class InceptionFeatures:
    """torch-fidelity's Inception network."""

    name = "inception"
    width = POOL

    def __init__(self, weights: Mapping[str, Tensor], sha256: str, device: torch.device) -> None:
        """`weights`: from `load_inception_weights`; `sha256`: of their file."""
        self.identity = f"{self.name} {sha256} {PREPROCESSING}"
        network = _empty_network()
        network.load_state_dict(dict(weights), assign=True)
        network.requires_grad_(False).eval().to(device)
        # Convolutions on CPU are 1.4 times as fast with channels last.
        self._network = network.to(memory_format=torch.channels_last)
        self._device = device
        self._spatial = torch.empty(0)
        # The ADM evaluator's `mixed_6/conv`, rectified, is the 1 x 1 branch here.
        network.Mixed_6d.branch1x1.register_forward_hook(self._keep_spatial)

    def _keep_spatial(self, _module: torch.nn.Module, _inputs: Any, output: Tensor) -> None:
        self._spatial = output[:, :7]  # (B, 7, 17, 17)

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        """Features of images (B, H, W, 3): pool (B, 2048), spatial (B, 2023), probabilities (B, 1008).

        Spatial features are in the order of the ADM evaluator, whose channels come last: (17, 17, 7), flattened.
        Probabilities are the softmax of the logits without bias.

        Raises:
            NonFiniteError: they hold NaN or infinity.
        """
        both = infer(lambda batch: torch.cat(self._network(batch), dim=1), images, self._device)
        pool, logits = both.split([POOL, CLASSES], dim=1)
        spatial = rearrange(self._spatial, "b c h w -> b (h w c)").float().cpu()
        probabilities = logits.double().softmax(1).float()  # in float32 throughout, they would sum to 1 less exactly
        return Features(
            finite_numpy(pool, self.name), finite_numpy(spatial, self.name), finite_numpy(probabilities, self.name)
        )


def open_inception(weights: Path, device: torch.device) -> InceptionFeatures:
    """The extractor, from torch-fidelity's file in the folder `weights`.

    Raises:
        WeightsError: the file is missing or wrong.
    """
    return InceptionFeatures(load_inception_weights(locate(INCEPTION, weights)), INCEPTION.sha256, device)


class _Network(FeatureExtractorInceptionV3):  # type: ignore[misc]  # torch-fidelity has no types
    """The network before it has weights.

    The parent's constructor unpickles a file without restriction: it gets an empty one, and loads nothing.
    """

    def __init__(self) -> None:
        nothing = io.BytesIO()
        torch.save({}, nothing)
        nothing.seek(0)
        super().__init__("inception-v3", ["2048", "logits_unbiased"], feature_extractor_weights_path=nothing)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict and bool(state_dict), assign)


def _empty_network() -> _Network:
    """Shapes alone: no time spent on initial values, and none drawn from the global generator."""
    with torch.device("meta"):
        return _Network()


def load_inception_weights(path: Path) -> dict[str, Tensor]:
    """Weights in a file that holds the network's state dict.

    Raises:
        WeightsError: the file holds anything else; nothing in it is executed.
    """
    weights = read_tensors(path)
    shapes = {name: value.shape for name, value in _empty_network().state_dict().items()}
    for name, shape in shapes.items():
        given = weights.get(name)
        if name.endswith("num_batches_tracked") and given is None:
            continue  # older files leave it out
        if given is None or given.shape != shape:
            raise WeightsError(
                f"{path}: {name}: must be a tensor {tuple(shape)}, as in torch-fidelity's Inception network"
            )
    return {name: weights[name] for name in shapes if name in weights}
