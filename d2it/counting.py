"""Parameters and multiply-adds of models, counted on tensors without values: no weight is allocated.

The paper's "FLOPs" are multiply-adds. Knows no model: `cost.py` counts those of a params file.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

META = torch.device("meta")
Model = TypeVar("Model", bound=nn.Module)


class RoutedModel(Protocol):
    """What is asked of a content transformer."""

    architecture: dict[str, Any]
    copies: list[int]

    def route(self, grain_map: Tensor) -> list[Any]: ...

    def __call__(self, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor, *, routes: list[Any]) -> Tensor: ...


def without_values(model: Model) -> Model:
    """The same model on the meta device."""
    with META:
        return type(model)(**cast("dict[str, Any]", model.architecture))


def parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def multiply_adds(run: Callable[[], object]) -> int:
    """Of what `run` does with tensors on the meta device."""
    counter = FlopCounterMode(display=False)
    with META, counter, torch.no_grad():
        run()
    return counter.get_total_flops() // 2  # PyTorch's counter counts two per multiply-add


def example_maps(shares: Sequence[float], side: int, images: int = 1, seed: int = 0) -> Tensor:
    """Random grain maps (images, side, side) uint8 with exactly these shares of grains each, coarsest first."""
    g = torch.Generator().manual_seed(seed)
    order = torch.rand(images, side**2, generator=g, device="cpu").argsort(1).argsort(1)  # (images, side²)
    edges = (torch.tensor(shares, dtype=torch.float64, device="cpu").cumsum(0)[:-1] * side**2).round()
    return (order[..., None] >= edges).sum(-1).to(torch.uint8).view(images, side, side)


def content_pass(model: RoutedModel, shares: Sequence[float]) -> Tensor:
    """One pass of a content transformer on the meta device over one image with these shares of grains."""
    grid, channels = model.architecture["latent_grid"], model.architecture["latent_channels"]
    grain_map = example_maps(shares, grid // model.copies[0])
    routes = [route.to(META) for route in model.route(grain_map)]  # planned on the CPU: they depend on values
    z, t = torch.empty(1, channels, grid, grid, device=META), torch.zeros(1, dtype=torch.int64, device=META)
    return model(z, t, t, grain_map.to(META), routes=routes)


def size_numbers(model: Model, run: Callable[[Model], object]) -> dict[str, float]:
    """`parameters` and `multiply_adds` of a trained model, as its stage reports them.

    `run`: one pass over one image, given the model without values and with the meta device as default.
    """
    empty = without_values(model)
    return {"parameters": float(parameters(empty)), "multiply_adds": float(multiply_adds(lambda: run(empty)))}
