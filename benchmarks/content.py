"""Cost of D²iT-B against DiT-B/2: `python -m benchmarks.content [--json]`.

Targets at batch 8, float32, 2 threads: forward at fine ratio 0.5 at most 1.25 x DiT-B/2, at ratio 0 at most 0.9 x;
forward and backward at most 1.3 x. Cost is linear in the ratio, and uneven images cost what their codes cost.
About 2 minutes on 2 cores. Kernels are deterministic, as in the stages.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.timing import arguments, in_turn, show
from d2it.counting import example_maps
from d2it.device import pick_device
from d2it.transformer.baseline import CHANNELS, CLASSES, GRID, plain_dit
from d2it.transformer.content import SIZES, DynamicContentTransformer

BATCH = 8
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)


def forward(model: nn.Module, *inputs: Tensor) -> Callable[[], object]:
    """One forward pass without gradients, planning of routes included."""

    def run() -> object:
        with torch.no_grad():
            return model(*inputs)

    return run


def forward_backward(model: nn.Module, *inputs: Tensor) -> Callable[[], object]:
    """One forward and backward pass."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        model(*inputs).square().mean().backward()

    return run


def maps_of(ratio: float, images: int = BATCH) -> Tensor:
    """Random grain maps with this share of fine regions each."""
    return example_maps([1 - ratio, ratio], GRID.divided(2), images)


def uneven_maps() -> Tensor:
    """As many fine regions as at ratio 0.5, but half of the images all fine and the others all coarse."""
    return torch.cat([maps_of(i % 2, 1) for i in range(BATCH)])


def main() -> None:
    """Time all in turn."""
    options, device = arguments("Cost of D²iT-B against DiT-B/2.", rounds=3), pick_device()
    torch.manual_seed(0)
    with device:
        ours, plain = DynamicContentTransformer(**SIZES["B"]), plain_dit("B", 2)
        z, t = torch.randn(BATCH, CHANNELS, *GRID), torch.randint(0, 1000, (BATCH,))
        y = torch.randint(0, CLASSES, (BATCH,))
    maps = {f"ratio {ratio:g}": maps_of(ratio).to(device) for ratio in RATIOS}
    maps["uneven"] = uneven_maps().to(device)
    runs = {"DiT-B/2": forward(plain, z, t, y)}
    runs |= {name: forward(ours, z, t, y, grain_map) for name, grain_map in maps.items()}
    runs["DiT-B/2, training"] = forward_backward(plain, z, t, y)
    runs["ratio 0.5, training"] = forward_backward(ours, z, t, y, maps["ratio 0.5"])
    seconds = in_turn(runs, options.rounds)
    base, costs = seconds["DiT-B/2"], [seconds[f"ratio {ratio:g}"] for ratio in RATIOS]
    slope, intercept = np.polyfit(RATIOS, costs, 1)
    residual = np.abs(np.polyval((slope, intercept), RATIOS) - costs).max()
    numbers: dict[str, object] = {"device": str(device), "batch": BATCH, "DiT-B/2, forward, s": base}
    numbers |= {f"{name} / DiT-B/2, forward": seconds[name] / base for name in maps}
    numbers["ratio 0.5 / DiT-B/2, forward + backward (target <= 1.3)"] = (
        seconds["ratio 0.5, training"] / seconds["DiT-B/2, training"]
    )
    numbers["uneven / even at ratio 0.5"] = seconds["uneven"] / seconds["ratio 0.5"]
    numbers["linear fit: at ratio 0, x DiT-B/2"] = float(intercept / base)
    numbers["linear fit: for each 1.0 of ratio, x DiT-B/2"] = float(slope / base)
    numbers["linear fit: largest residual, x DiT-B/2"] = float(residual / base)
    show(numbers, options.json)


if __name__ == "__main__":
    main()
