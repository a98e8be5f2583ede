"""What is told of the models that a stage has made: their size, their cost, and the hash by which DVC keeps them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from d2it.params import Params
from d2it.saved import CONFIG, WEIGHTS, read_config
from d2it.transformer.content import build_content
from d2it.transformer.grain import build_grain
from stages.key import content_md5


def hashes(folder: Path) -> dict[str, str]:
    """Tag `dvc.md5.<file>` of each file of weights in a stage's folder: the md5 that dvc.lock is going to record."""
    return {f"dvc.md5.{path.name}": content_md5(path) for path in sorted(folder.glob("*.safetensors"))}


def sizes(stage: str, folder: Path, params: Params) -> dict[str, float]:
    """`parameters` of the model in a stage's folder and, of a transformer, `multiply_adds` of one pass of one image.

    Counted on the meta device, from config.json; the content transformer at the ratio of grains that params.yaml asks
    for. Empty where the stage makes no model.
    """
    if not ((folder / WEIGHTS).exists() and (folder / CONFIG).exists()):
        return {}
    config = read_config(folder)
    with torch.device("meta"):
        if stage == "train_content":
            return _content(config, params.grain.shares)
        if stage == "train_grain":
            return _grain(config)
    return {"parameters": float(_values(folder / WEIGHTS))} if stage == "train_dvae" else {}


def _content(config: dict[str, Any], shares: list[float]) -> dict[str, float]:
    model = build_content(config)
    grid = config["latent_grid"]
    side = grid // model.copies[0]  # regions
    with torch.device("cpu"):  # routes depend on values
        places = (torch.arange(side**2) + 0.5) / side**2
        edges = torch.tensor(shares).cumsum(0)[:-1]
        mixed = torch.randperm(side**2, generator=torch.Generator().manual_seed(0))
        grain_map = (places[:, None] > edges).sum(1)[mixed].to(torch.uint8).view(1, side, side)
        routes = [route.to(torch.device("meta")) for route in model.route(grain_map)]
    z, t = torch.empty(1, config["latent_channels"], grid, grid), torch.empty(1, dtype=torch.int64)
    return _counts(model, lambda: model(z, t, t, grain_map.to("meta"), routes))


def _grain(config: dict[str, Any]) -> dict[str, float]:
    model, grid = build_grain(config), config["region_grid"]
    noisy, t = torch.empty(1, 1, grid, grid), torch.empty(1, dtype=torch.int64)
    return _counts(model, lambda: model(noisy, t, t))


def _counts(model: nn.Module, run: Callable[[], object]) -> dict[str, float]:
    counter = FlopCounterMode(display=False)  # counts two a multiply-add
    with counter, torch.no_grad():
        run()
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"parameters": float(count), "multiply_adds": counter.get_total_flops() / 2}


def _values(weights: Path) -> int:
    with safe_open(weights, "np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  # no mapping
