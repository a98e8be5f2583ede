"""Downloads of a stage, made where there is a network: on the submitting side, before anything is submitted."""

import os
from pathlib import Path

from d2it.params.sections import Params
from d2it.weights import INCEPTION, VGG16, Weights, download
from pipeline.root import find_root


def weights_folder() -> Path:
    """Folder of downloaded weights: D2IT_WEIGHTS, else `.d2it/weights` at the repository's real root."""
    given = os.environ.get("D2IT_WEIGHTS")
    return Path(given).expanduser().resolve() if given else find_root() / ".d2it" / "weights"


def needed(stage: str, params: Params) -> list[Weights]:
    """The files that a stage of dvc.yaml will open."""
    if stage == "train_dvae" and params.dvae.perceptual_weight > 0:
        return [VGG16]
    if stage == "fid" and params.fid.extractor == "inception":
        return [INCEPTION]
    return []


def ensure(stage: str, params: Params) -> None:
    """Download what a stage will open and is not there yet; check what is.

    Raises:
        WeightsError: a file is wrong, or missing and cannot be downloaded; the message says where to put it.
    """
    for weights in needed(stage, params):
        download(weights, weights_folder())
