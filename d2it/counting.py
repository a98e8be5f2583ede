"""Parameters and multiply-adds of models, counted on tensors without values, where no model is at hand.

The paper's "FLOPs" are multiply-adds. Knows no model: `d2it.cost` counts those of a params file.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from d2it.size import Size

META = torch.device("meta")


class RoutedModel(Protocol):
    """What is asked of a content transformer."""

    architecture: dict[str, Any]
    copies: list[int]

    def route(self, grain_map: Tensor) -> list[Any]: ...

    def __call__(self, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor, *, routes: list[Any]) -> Tensor: ...


def parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class _Counter(TorchDispatchMode):
    """PyTorch's own formulas, which count two operations per multiply-add.

    PyTorch's `FlopCounterMode` imports its compiler at its first operation, which takes seconds at the end of a stage.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.operations += formula(*args, **(kwargs or {}), out_val=out)
        return out


def multiply_adds(run: Callable[[], object], device: torch.device = META) -> int:
    """Of what `run` does with tensors on the device, which is its default."""
    counter = _Counter()
    with device, torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # attention as products that are counted
        run()
    return counter.operations // 2


def example_maps(shares: Sequence[float], size: Size, images: int = 1, seed: int = 0) -> Tensor:
    """Random grain maps (images, *size) uint8 with exactly these shares of grains each, coarsest first."""
    g = torch.Generator().manual_seed(seed)
    order = torch.rand(images, size.area, generator=g, device="cpu").argsort(1).argsort(1)  # (images, h·w)
    edges = (torch.tensor(shares, dtype=torch.float64, device="cpu").cumsum(0)[:-1] * size.area).round()
    return (order[..., None] >= edges).sum(-1).to(torch.uint8).view(images, *size)


def content_pass(model: RoutedModel, shares: Sequence[float]) -> Tensor:
    """One pass of a content transformer, on the default device, over one image with these shares of grains."""
    grid, channels = Size.of(model.architecture["latent_grid"]), model.architecture["latent_channels"]
    grain_map = example_maps(shares, grid.divided(model.copies[0]))
    z, t = torch.zeros(1, channels, *grid), torch.zeros(1, dtype=torch.int64)
    routes = [route.to(z.device) for route in model.route(grain_map)]  # planned on the CPU: they depend on values
    return model(z, t, t, grain_map.to(z.device), routes=routes)


def size_numbers(model: nn.Module, run: Callable[[], object]) -> dict[str, float]:
    """`parameters` and `multiply_adds` of a trained model, as its stage reports them.

    `run`: one pass over one image, on the model's device, which is the default.
    """
    device = next(model.parameters()).device
    return {"parameters": float(parameters(model)), "multiply_adds": float(multiply_adds(run, device))}
