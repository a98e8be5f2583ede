"""Weights that a training starts from, instead of new ones: fine-tuning, or an autoencoder that exists.

A folder holds them, as the pipeline's `outputs`, as `python -m d2it export` writes it, or of the one model; for the
DVAE also an AutoencoderKL of diffusers, see d2it/dvae/kl_f8.py.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from d2it.nested import differences
from d2it.saved import CONFIG, WEIGHTS, SavedModelError, put_tensors, read_config, read_weights

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
SHAPELESS = ("dropout", "window", "tokens")  # arguments of a constructor that change no tensor


def find_model(folder: Path, stage: str) -> Path:
    """The folder of the model of stage `stage`, 'train_dvae' for instance: in `folder`, or `folder` itself.

    Raises:
        SavedModelError: it holds none.
    """
    for place in (folder / stage, folder):
        if (place / CONFIG).is_file():
            return place
    raise SavedModelError(f"{folder}: must hold {stage}/{CONFIG}, or {CONFIG} itself")


def is_autoencoder_kl(folder: Path) -> bool:
    """Whether a folder's config.json is that of diffusers' AutoencoderKL."""
    return read_config(folder).get("_class_name") == "AutoencoderKL"


def identity_of(folder: Path) -> str:
    """sha256 of a model's config and weights, of whichever format, 64 hex digits.

    Raises:
        SavedModelError: a file is missing.
    """
    digest = hashlib.sha256()
    for name in (CONFIG, DIFFUSERS_WEIGHTS if is_autoencoder_kl(folder) else WEIGHTS):
        try:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise SavedModelError(f"{folder / name}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def require_fitting(folder: Path, kind: str, architecture: Mapping[str, Any]) -> None:
    """Compare what a config.json of this project says with what is to be trained, before there is a model.

    Args:
        folder: from `find_model`.
        kind: name of the model's class.
        architecture: arguments of its constructor, or some of them.

    Raises:
        SavedModelError: another model, or one of other shapes.
    """
    config = read_config(folder)
    if config.get("model") != kind:
        given = config.get("model", config.get("_class_name", "something else"))
        raise SavedModelError(f"{folder / CONFIG}: holds a {given}: must be a {kind}")
    held = config.get("architecture")
    wanted = {key: value for key, value in architecture.items() if key not in SHAPELESS}
    theirs, ours = differences({key: held.get(key) for key in wanted} if isinstance(held, dict) else {}, wanted)
    if theirs or ours:
        raise SavedModelError(f"{folder / CONFIG}: {theirs}; to be trained: {ours}: must be equal to start from it")


def put_weights(model: nn.Module, folder: Path) -> None:
    """Put saved weights into a model of the same shapes, in place.

    Raises:
        SavedModelError: they are damaged, or of other shapes.
    """
    put_tensors(model, read_weights(folder), str(folder / WEIGHTS))
