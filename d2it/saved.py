"""Models at rest: weights.safetensors, and config.json that says what they are made of. Nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS, CONFIG = "weights.safetensors", "config.json"
SHOWN = 6  # differences in an error's line
DIGITS = 12  # of a sha256 in it


class SavedModelError(ValueError):
    """A saved model that cannot be used; the message is one line: which file, what it holds, what was expected."""


def save_model(folder: Path, model: nn.Module, config: Mapping[str, Any]) -> None:
    """Write weights.safetensors and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, folder / WEIGHTS)
    write_config(folder, config)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json."""
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder.

    Raises:
        SavedModelError: it is missing or damaged.
    """
    return read_json(folder / CONFIG)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SavedModelError: the file is missing, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SavedModelError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SavedModelError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise SavedModelError(f"{path}: holds {type(found).__name__}: must be a JSON object")
    return found


def load_weights(model: nn.Module, folder: Path, device: torch.device) -> None:
    """Put saved weights into a model, for inference.

    Raises:
        SavedModelError: weights.safetensors is missing, damaged, or of another model.
    """
    path = folder / WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SavedModelError(f"{path}: not a whole file of weights: {' '.join(str(error).split())}") from None
    put_tensors(model, tensors, str(path))
    model.eval().requires_grad_(False).to(device)


def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copy tensors into a model of exactly their names and shapes.

    Raises:
        SavedModelError: names or shapes differ; the message starts with `origin`.
    """
    wanted = {name: list(x.shape) for name, x in model.state_dict().items()}
    found = {name: list(x.shape) for name, x in tensors.items()}
    theirs, ours = differences(found, wanted)
    if theirs:
        raise SavedModelError(f"{origin}: weights of another model: {theirs}; expected: {ours}")
    model.load_state_dict(dict(tensors))


def identity(folder: Path) -> str:
    """sha256 of a saved model's config and weights, 64 hex digits.

    Raises:
        SavedModelError: a file is missing.
    """
    digest = hashlib.sha256()
    try:
        for name in (CONFIG, WEIGHTS):
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise SavedModelError(f"{folder / name}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str]:
    """What each of two sides says where they differ: ('grain.factors [8]', 'grain.factors [8, 16]'); '' where equal."""
    keys = [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
    more = [f"{len(keys) - SHOWN} more"] if len(keys) > SHOWN else []

    def said(side: Mapping[str, Any]) -> str:
        return ", ".join([f"{key} {_short(side[key]) if key in side else 'absent'}" for key in keys[:SHOWN]] + more)

    return said(one), said(other)


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'content': {'layers': 4}} as {'content.layers': 4}."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _short(value: Any) -> str:
    is_sha256 = isinstance(value, str) and len(value) == 64
    return f"{value[:DIGITS]}..." if is_sha256 else str(value)
