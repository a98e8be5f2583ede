"""Models at rest: weights.safetensors, and config.json, which holds the architecture. Nothing is unpickled.

    {"model": "DynamicContentTransformer", "version": 3, "architecture": {...}, ...}

What stands beside these three keys says what the model was trained on, and is nobody's business here.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from d2it.files import UnreadableFileError, read_json, replacing, write_text
from d2it.finite import require_finite
from d2it.nested import differences

WEIGHTS, CONFIG, CHECKSUM = "weights.safetensors", "config.json", "sha256"
VERSION = 3  # of config.json

Model = TypeVar("Model", bound=nn.Module)


class SavedModelError(UnreadableFileError):
    """A saved model that cannot be used; the message is one line: which file, what it holds, what was expected."""


def save_model(folder: Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write weights.safetensors and config.json.

    Args:
        folder: made if need be.
        model: with an attribute `architecture`, the arguments of its constructor.
        about: anything else for config.json.
    """
    with replacing(folder / WEIGHTS) as part:
        write_tensors(part, model.state_dict(), {})
    write_config(folder, describe(model) | dict(about))


def describe(model: nn.Module) -> dict[str, Any]:
    """What config.json says of a model itself."""
    return {"model": type(model).__name__, "version": VERSION, "architecture": model.architecture}


def load_model(kind: type[Model], folder: Path | str, device: torch.device | str) -> Model:
    """The model of this kind that a folder holds, for inference: no dropout, no gradients.

    Raises:
        UnreadableFileError: the folder holds another model, one of another version, or a damaged one.
        NonFiniteError: its weights hold NaN or infinity.
    """
    folder = Path(folder)
    config = read_config(folder)
    path, name, version = folder / CONFIG, config.get("model"), config.get("version")
    if version != VERSION:
        given = "no version" if version is None else f"version {version}"
        raise SavedModelError(f"{path}: {given}, of other code: this code reads version {VERSION}; train it anew")
    if name != kind.__name__:
        raise SavedModelError(f"{path}: holds a {name}: must be a {kind.__name__}")
    try:
        model = kind(**config["architecture"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, ZeroDivisionError, IndexError) as error:
        raise SavedModelError(f"{path}: no architecture of a {name}: {' '.join(str(error).split())}") from None
    theirs, ours = differences(config["architecture"], describe(model)["architecture"])
    if theirs:  # a default in place of a missing key would be another model
        raise SavedModelError(f"{path}: architecture of other code: {theirs}; expected: {ours}")
    put_tensors(model, read_weights(folder), str(folder / WEIGHTS))
    for tensor_name, tensor in model.state_dict().items():
        require_finite(tensor, f"{folder / WEIGHTS}: {tensor_name}")
    return model.eval().requires_grad_(False).to(device)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json."""
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder.

    Raises:
        UnreadableFileError: it is missing or damaged.
    """
    return read_json(folder / CONFIG)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of weights.safetensors, by name.

    Raises:
        SavedModelError: the file is missing or damaged.
    """
    path = folder / WEIGHTS
    try:
        return read_tensors(path)[0]
    except (OSError, SafetensorError, ValueError) as error:
        raise SavedModelError(f"{path}: not a whole file of weights: {' '.join(str(error).split())}") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write a safetensors file of tensors and texts that says the checksum of both; not atomic.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    held = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    save_file(held, path, {**texts, CHECKSUM: checksum(held, texts)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and texts of a safetensors file, whose checksum is verified if it says one.

    Raises:
        OSError, SafetensorError: there is no such file, or it is not of this format.
        ValueError: the content is not what was written.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        texts = dict(file.metadata() or {})
    written = texts.pop(CHECKSUM, None)
    if written not in (None, checksum(tensors, texts)):
        raise ValueError("damaged: its content has another checksum than was written with it")
    return tensors, texts


def checksum(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """sha256 of names, types, shapes and bytes, 64 hex digits; tensors are contiguous, on the CPU."""
    digest = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for name, x in sorted(tensors.items()):
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copy tensors into a model of exactly their names and shapes.

    Raises:
        SavedModelError: names or shapes differ; the message starts with `origin`.
    """
    wanted = {name: list(x.shape) for name, x in model.state_dict().items()}
    given = {name: list(x.shape) for name, x in tensors.items()}
    theirs, ours = differences(given, wanted)
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
