"""Sizes that MLflow shows are those of d2it.sizes, counted from what a stage leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from d2it.params import Params
from d2it.sizes import SIZES, content_multiply_adds, content_params, content_transformer, parameters
from stages.made import hashes, sizes
from tests.pipeline import changed


def _leave(folder: Path, config: dict[str, object]) -> Path:
    save_file({"w": np.zeros((3, 5), np.float32), "b": np.zeros(2, np.float32)}, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_content_transformer_has_the_size_and_cost_of_the_table(tmp_path: Path, params: Params) -> None:
    size = SIZES["B"]
    config = {
        "content": content_params(size.layers, size.width, size.heads, False).model_dump(),
        "refinenet": params.refinenet.model_dump() | {"layers": size.refinenet_layers, "window": 16, "tokens": "fine"},
        "factors": [8, 16],
        "latent_grid": 32,
        "latent_channels": 4,
        "classes": 1000,
    }
    with torch.device("meta"):
        model = content_transformer(size)
    found = sizes("train_content", _leave(tmp_path, config), params)
    assert params.grain.fine_ratio == 0.5
    assert found["parameters"] / 1e6 == pytest.approx(parameters(model))
    assert found["multiply_adds"] / 1e9 == pytest.approx(content_multiply_adds(model, 0.5), rel=0.02)


def test_cost_follows_the_ratio_of_fine_regions(tmp_path: Path) -> None:
    config = {
        "content": changed({}).content.model_dump(),
        "refinenet": changed({}).refinenet.model_dump(),
        "factors": [8, 16],
        "latent_grid": 8,
        "latent_channels": 4,
        "classes": 8,
    }
    folder = _leave(tmp_path, config)
    few, many = (sizes("train_content", folder, changed({"grain.fine_ratio": ratio})) for ratio in (0.25, 1.0))
    assert few["parameters"] == many["parameters"]
    assert few["multiply_adds"] < many["multiply_adds"]


def test_other_stages_are_counted_from_their_weights_or_not_at_all(tmp_path: Path, params: Params) -> None:
    assert sizes("prepare", tmp_path, params) == {}
    assert hashes(tmp_path) == {}
    assert sizes("train_dvae", _leave(tmp_path, {}), params) == {"parameters": 17.0}
