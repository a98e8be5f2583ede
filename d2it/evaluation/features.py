"""The extractors by name: networks whose features stand for images in every distance here."""

from pathlib import Path

import torch

from d2it.evaluation.extractor import Extractor, Features
from d2it.weights import WeightsError

__all__ = ["Extractor", "Features", "open_extractor"]


def open_extractor(name: str, weights: Path, device: torch.device) -> Extractor:
    """The extractor `name`: inception, efficientnet_lite0 or dinov2; `weights`: folder of downloaded weights.

    Each is imported where it is asked for: one never pays for the libraries of another.

    Raises:
        WeightsError: its weights are missing or wrong, or there is no extractor of this name.
    """
    if name == "inception":
        from d2it.evaluation.inception import open_inception

        return open_inception(weights, device)
    if name == "efficientnet_lite0":
        from d2it.evaluation.efficientnet import open_efficientnet

        return open_efficientnet(device)
    if name == "dinov2":
        from d2it.evaluation.dinov2 import open_dinov2

        return open_dinov2(weights, device)
    raise WeightsError(f"extractor {name!r}: must be inception, efficientnet_lite0 or dinov2")
