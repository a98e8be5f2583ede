"""Latents at rest: bytes of a photo, and the reader's rate: `python -m benchmarks.latents [--rows N] [--json]`.

At the paper's sizes (256 pixels, z = 4, factors 8 and 16) with half of the regions fine, random values in a temporary
folder: 100,000 rows are 1 GB, which stay in the page cache, so that this is the reader's own cost and not a disk's.

- Bytes of a photo, plain and mirrored, over dense ones: at most 0.65.
- Rows at random, in micro-batches, as training reads them: over what one H100 trains on at size B at least 5. The sum:
  training takes 3 forward passes of 2 operations per multiply-add, at half of the card's bfloat16 rate; the half is an
  assumption, `benchmarks.gpu` measures it.

Beside it the rates from the disk, with an empty page cache, without threads and, where there is a GPU, with codes
copied to their positions on it; and what a rank pays for the order of ImageNet's rows: a permutation per epoch, and
its share of a step.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu import NOMINAL, SHARES
from benchmarks.timing import arguments, in_turn, show
from d2it.counting import META, content_pass, example_maps, multiply_adds
from d2it.data.latents import CompactBatch, Latents, LatentWriter
from d2it.device import pick_device
from d2it.training import batches
from d2it.training.batches import batch_rows
from d2it.training.read_ahead import read_ahead
from d2it.transformer.baseline import CHANNELS, CLASSES, GRID
from d2it.transformer.content import SIZES, DynamicContentTransformer

ROWS, MICRO_BATCH, BLOCK = 100_000, 128, 1000
IMAGENET, BATCH = 2 * 1_281_167, 256
COPIES = [2, 1]  # of factors 8 and 16
OPERATIONS, UTILISATION = 2 * 3, 0.5  # per multiply-add of a forward pass; share of the card's nominal rate
DENSE_BYTES = 2 * (
    2 * CHANNELS * GRID.area * 2 + GRID.divided(2).area + 8
)  # plain and mirrored: moments, grain map, label


def write(folder: Path, rows: int) -> None:
    """Random latents, half of the regions of each fine."""
    rng, regions = np.random.default_rng(0), GRID.divided(2)
    codes = regions.area // 2 * (4 + 1)  # of a row
    with LatentWriter(folder, rows=rows, latent_channels=CHANNELS, region_grid=regions, copies=COPIES) as writer:
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            moments = rng.random((n * codes, 2, CHANNELS), np.float32).astype(np.float16)
            maps = example_maps(SHARES, regions, n, seed=start).numpy()
            writer.append(moments, maps, rng.integers(0, CLASSES, n))


def bytes_per_photo(folder: Path, rows: int) -> float:
    """Of all files, for a photo and its mirror image."""
    return 2 * sum(path.stat().st_size for path in folder.iterdir()) / rows


def micro_batches(rows: int) -> Iterator[NDArray[np.int64]]:
    """All rows once, in a random order, as training goes through them."""
    return (batch_rows(0, step, MICRO_BATCH, rows) for step in range(rows // MICRO_BATCH))


def permute() -> None:
    """The order of an epoch of ImageNet, plain and mirrored, and its first step."""
    batches._permutation.cache_clear()
    batch_rows(0, 0, BATCH, IMAGENET)


def trained_rate() -> float:
    """Images/s that one H100 trains the content transformer of size B on."""
    with META:
        model = DynamicContentTransformer(**SIZES["B"])
    operations = OPERATIONS * multiply_adds(lambda: content_pass(model, SHARES))
    return UTILISATION * NOMINAL["H100"] * 1e12 / operations


class Reading:
    """One pass over all rows, in several ways; each maps the files anew."""

    def __init__(self, folder: Path, rows: int, device: torch.device) -> None:
        self.folder, self.rows, self.device = folder, rows, device
        os.sync()  # what is on its way to the disk stays in the page cache

    def read(self, latents: Latents) -> Callable[[NDArray[np.int64]], CompactBatch]:
        """As the stage reads."""
        return partial(latents.read, pinned=self.device.type == "cuda")

    def ahead(self) -> None:
        """Threads read, and nobody computes."""
        with closing(read_ahead(self.read(Latents(self.folder)), micro_batches(self.rows))) as data:
            for _ in data:
                pass

    def from_disk(self) -> None:
        """The same, once the page cache holds none of it."""
        for path in self.folder.iterdir():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.ahead()

    def alone(self) -> None:
        """One micro-batch after the other, without threads."""
        read = self.read(Latents(self.folder))
        for rows in micro_batches(self.rows):
            read(rows)

    def on_device(self) -> None:
        """Threads read, and the device copies codes to their positions."""
        latents = Latents(self.folder)
        with closing(read_ahead(self.read(latents), micro_batches(self.rows))) as data:
            for batch in data:
                latents.spread(batch, self.device)


def main() -> None:
    """Write, then read in turn."""
    options, device = arguments("Latents at rest: bytes and rate of reading.", rows=ROWS), pick_device()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder, options.rows)
        size, reading = bytes_per_photo(folder, options.rows), Reading(folder, options.rows, device)
        runs = {"from the disk": reading.from_disk, "read ahead": reading.ahead, "without threads": reading.alone}
        if device.type == "cuda":
            runs["read ahead and spread"] = reading.on_device
        seconds = in_turn(runs, options.rounds)
    order = in_turn({"epoch": permute, "step": lambda: batch_rows(0, 0, BATCH, IMAGENET)}, options.rounds)
    images, trained = options.rows // MICRO_BATCH * MICRO_BATCH, trained_rate()
    numbers: dict[str, object] = {
        "device": str(device),
        "cores": os.cpu_count(),
        "bytes per photo": size,
        "bytes per photo, dense": DENSE_BYTES,
        "bytes / dense (target <= 0.65)": size / DENSE_BYTES,
        f"one H100 trains B at {UTILISATION:.0%} of its rate, images/s": trained,
    }
    numbers |= {f"{name}, images/s": images / seconds[name] for name in runs}
    numbers["read ahead / what one H100 trains on (target >= 5)"] = images / seconds["read ahead"] / trained
    numbers |= {"order of an epoch, ms": 1e3 * order["epoch"], "rows of a step, ms": 1e3 * order["step"]}
    show(numbers, options.json)


if __name__ == "__main__":
    main()
