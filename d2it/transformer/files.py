"""Transformers at rest: averaged weights and what they are made of, so that sampling needs no params of training."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def save_transformer(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write weights.safetensors and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a saved transformer."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def load_weights(model: nn.Module, folder: Path, device: torch.device) -> None:
    """Put saved weights into a model, for inference."""
    model.load_state_dict(load_file(folder / WEIGHTS))
    model.eval().requires_grad_(False).to(device)
