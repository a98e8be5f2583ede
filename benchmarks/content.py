"""Cost of D²iT-B against DiT-B/2: `python -m benchmarks.content [--json]`.

Targets at batch 8, float32, 2 threads: forward at fine ratio 0.5 at most 1.25 x DiT-B/2, at ratio 0 at most 0.9 x;
forward and backward at most 1.3 x. Cost is linear in the ratio, and uneven images cost what their codes cost.
About 2 minutes on 2 cores. Kernels are deterministic, as in the stages.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.timing import arguments, in_turn, pick_device, show
from d2it.cost import CLASSES, GRID, RATIOS, SIZES, content_transformer, dit, map_of_ratio

BATCH = 8


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


def uneven_maps() -> Tensor:
    """As many fine regions as at ratio 0.5, but half of the images all fine and the others all coarse."""
    return torch.stack([map_of_ratio(float(i % 2))[0] for i in range(BATCH)])


def main() -> None:
    """Time all in turn."""
    options, device = arguments("Cost of D²iT-B against DiT-B/2.", rounds=3), pick_device()
    torch.manual_seed(0)
    with device:
        ours, plain = content_transformer(SIZES["B"]), dit(SIZES["B"], 2)
        z, t = torch.randn(BATCH, 4, GRID, GRID), torch.randint(0, 1000, (BATCH,))
        y = torch.randint(0, CLASSES, (BATCH,))
    maps = {f"ratio {ratio:g}": map_of_ratio(ratio, BATCH).to(device) for ratio in RATIOS}
    maps["uneven"] = uneven_maps().to(device)
    runs = {"DiT-B/2": forward(plain, z, t, y)}
    runs |= {name: forward(ours, z, t, y, grain_map) for name, grain_map in maps.items()}
    runs["DiT-B/2, training"] = forward_backward(plain, z, t, y)
    runs["ratio 0.5, training"] = forward_backward(ours, z, t, y, maps["ratio 0.5"])
    seconds = in_turn(runs, options.rounds)
    base, costs = seconds["DiT-B/2"], [seconds[f"ratio {ratio:g}"] for ratio in RATIOS]
    slope, intercept = np.polyfit(RATIOS, costs, 1)
    residual = np.abs(np.polyval((slope, intercept), RATIOS) - costs).max()
    found: dict[str, object] = {"device": str(device), "batch": BATCH, "DiT-B/2, forward, s": base}
    found |= {f"{name} / DiT-B/2, forward": seconds[name] / base for name in maps}
    found["ratio 0.5 / DiT-B/2, forward + backward (target <= 1.3)"] = (
        seconds["ratio 0.5, training"] / seconds["DiT-B/2, training"]
    )
    found["uneven / even at ratio 0.5"] = seconds["uneven"] / seconds["ratio 0.5"]
    found["linear fit: at ratio 0, x DiT-B/2"] = float(intercept / base)
    found["linear fit: for each 1.0 of ratio, x DiT-B/2"] = float(slope / base)
    found["linear fit: largest residual, x DiT-B/2"] = float(residual / base)
    show(found, options.json)


if __name__ == "__main__":
    main()
