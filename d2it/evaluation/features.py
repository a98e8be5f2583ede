"""Inception features of images, as the ADM evaluator takes them, from checked or from seeded weights."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from d2it.weights import WeightsError

POOL, SPATIAL, CLASSES = 2048, 7 * 17 * 17, 1008
RANDOM_SEED = 0  # fixed, so that distances of different runs compare


class Features(NamedTuple):
    """Features of a batch, float32."""

    pool: Tensor  # (B, 2048): last average pooling; for FID, precision and recall
    spatial: Tensor  # (B, 2023): 7 channels of 17 x 17 in the middle of the network; for sFID
    probabilities: Tensor  # (B, 1008): softmax of the logits without bias; for the Inception score


class InceptionFeatures:
    """torch-fidelity's Inception network, which resizes to 299 x 299 as TensorFlow 1 did."""

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device) -> None:
        """`weights`: from `load_inception_weights` or `random_weights`."""
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
        self._spatial = output[:, :7].flatten(1)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """Features of images uint8 (B, 3, H, W)."""
        pool, logits = self._network(images.to(self._device))
        return Features(pool, self._spatial, logits.softmax(1))


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
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise WeightsError(f"{path}: not a file of tensors alone, as torch.save writes it") from None
    shapes = {name: value.shape for name, value in _empty_network().state_dict().items()}
    for name, shape in shapes.items():
        given = weights.get(name) if isinstance(weights, dict) else None
        if name.endswith("num_batches_tracked") and given is None:
            continue  # older files leave it out
        if not isinstance(given, Tensor) or given.shape != shape:
            raise WeightsError(
                f"{path}: {name}: must be a tensor {tuple(shape)}, as in torch-fidelity's Inception network"
            )
    return {name: weights[name] for name in shapes if name in weights}


def random_weights(seed: int = RANDOM_SEED) -> dict[str, Tensor]:
    """Seeded weights that keep the scale of activations (He et al. 2015); normalisation layers do nothing.

    Features differ between images, and their Frechet distance grows with blur and noise, but it is not FID.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, empty in _empty_network().state_dict().items():
        if name.endswith(("conv.weight", "fc.weight")):
            fan_in = empty[0].numel()
            weights[name] = torch.randn(empty.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif name.endswith(("bn.weight", "running_var")):
            weights[name] = torch.ones(empty.shape)
        else:
            weights[name] = torch.zeros(empty.shape, dtype=empty.dtype)
    return weights
