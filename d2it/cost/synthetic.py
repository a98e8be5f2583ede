"""Random data of a params file's shapes, as the stages write them: what a training reads where there is no data set."""

from pathlib import Path

import numpy as np
import torch

from d2it.counting import example_maps
from d2it.data.latents import LatentWriter, code_moments
from d2it.data.shards import ShardWriter
from d2it.grain.codes import copies_per_side
from d2it.params.sections import Params


def write_photos(folder: Path, params: Params, rows: int) -> None:
    """Pixels, region entropies in [0, 1) and labels of `rows` photos; one class."""
    rng, size, grid = np.random.default_rng(0), params.data.image_size, params.region_grid
    arrays = {
        "images": rng.integers(0, 256, (rows, *size, 3), np.uint8),
        "entropy": rng.random((rows, *grid), np.float32),
        "labels": np.zeros(rows, np.int64),
    }
    for name, values in arrays.items():
        with ShardWriter(folder, name, values.shape[1:], values.dtype, rows=rows) as writer:
            writer.append(values)


def write_latents(folder: Path, params: Params, rows: int, classes: int = 10) -> None:
    """Moments, grain maps with the params' shares of grains, and labels; every class in turn, or 0 of no class."""
    rng, grid, channels = np.random.default_rng(0), params.latent_grid, params.dvae.latent_channels
    mean, std = torch.from_numpy(rng.standard_normal((2, rows, channels, *grid), np.float32))
    maps = example_maps(params.grain.shares, params.region_grid, rows)
    copies = copies_per_side(params.grain.factors)
    moments = code_moments(mean, std.abs(), maps, copies)
    writing = LatentWriter(
        folder, rows=rows, latent_channels=channels, region_grid=params.region_grid, copies=copies
    )  # fmt: skip
    with writing as writer:
        writer.append(moments, maps.numpy(), np.arange(rows, dtype=np.int64) % max(1, classes))
