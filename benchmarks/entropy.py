"""Region entropies against the direct kernel density: `python -m benchmarks.entropy [--json]`.

Target: at least 25 times as fast as the direct sum over 256 bins, in float32 with PyTorch, and equal to 1e-4 nats.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.timing import arguments, in_turn, show
from d2it.grain.entropy import LUMA, region_entropy

IMAGES, SIZE, REGION, BANDWIDTH = 4, 256, 16, 0.01


def direct(images: NDArray[np.uint8]) -> torch.Tensor:
    """The paper's formula as it stands, on all threads: (B, h, w)."""
    B, h = len(images), SIZE // REGION
    luma = torch.from_numpy(images).float() @ torch.from_numpy(LUMA / 255)
    x = luma.view(B, h, REGION, h, REGION).transpose(2, 3).reshape(-1, REGION**2)
    bins = torch.linspace(0, 1, REGION**2)
    density = torch.stack([torch.exp(-0.5 * ((region[:, None] - bins) / BANDWIDTH) ** 2).sum(0) for region in x])
    density = density / density.sum(1, keepdim=True)
    return -torch.xlogy(density, density).sum(1).view(B, h, h)


def main() -> None:
    """Time both in turn."""
    options = arguments("Region entropies against the direct kernel density.")
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (IMAGES, 9, 9, 3)).repeat(32, 1).repeat(32, 2)[:, :SIZE, :SIZE]
    images = np.clip(smooth + rng.normal(0, 12, (IMAGES, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    with threadpool_limits(options.threads):
        difference = float(np.abs(region_entropy(images, REGION, BANDWIDTH) - direct(images).numpy()).max())
        seconds = in_turn(
            {"ours": lambda: region_entropy(images, REGION, BANDWIDTH), "direct": lambda: direct(images)},
            options.rounds,
        )
    numbers = {
        "images": IMAGES,
        "ours, ms per image": 1e3 * seconds["ours"] / IMAGES,
        "direct, ms per image": 1e3 * seconds["direct"] / IMAGES,
        "direct / ours (target >= 25)": seconds["direct"] / seconds["ours"],
        "largest difference, nats (target <= 1e-4)": difference,
    }
    show(numbers, options.json)


if __name__ == "__main__":
    main()
