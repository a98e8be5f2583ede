"""Cost of a whole measurement over its extractor's, and its peak memory: `python -m benchmarks.evaluation [--json]`.

Samples against as many real images, both in files of 64 x 64 pixels: Frechet distance, KID, precision and recall by the
installed extractor. The bare extractor gets the same batches from memory. Targets: the whole measurement goes at 0.95
of its images/s or more; the peak memory of a process that measures 20,000 samples against 2,000 real images is within
5 % of that for 2,000 samples. Three quarters of an hour on 2 cores; `--images 100` is a quick look, which shows
little: the distances themselves take seconds, whatever the number of images.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import in_turn, show
from d2it.data.samples import Samples, SamplesWriter
from d2it.device import pick_device
from d2it.evaluation.extractor import Extractor
from d2it.evaluation.features import open_extractor
from d2it.evaluation.images import fair_sample
from d2it.evaluation.measure import Pass, Side, compare
from d2it.evaluation.statistics import Wanted
from d2it.ranks.ranks import Ranks
from d2it.size import Size

EXTRACTOR, SIZE, BATCH, NEIGHBOURS = "efficientnet_lite0", 64, 32, 3
METRICS = ("fd", "kid", "precision", "recall")
GROWTH = 10  # from the smaller number of images whose peak is measured to the larger


def write(path: Path, images: int, seed: int) -> Path:
    """Random images: smooth, with some noise."""
    rng = np.random.default_rng(seed)
    with SamplesWriter(path, images=images, size=Size.of(SIZE)) as writer:
        for start in range(0, images, BATCH):
            count = min(BATCH, images - start)
            smooth = rng.integers(0, 256, (count, 8, 8, 3)).repeat(8, 1).repeat(8, 2)
            pixels = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
            writer.append(pixels, np.zeros(count, np.int64))
    return path


def bare(extractor: Extractor, *paths: Path) -> Callable[[], object]:
    """The extractor alone, on batches in memory."""
    batches = []
    for path in paths:
        samples = Samples(path)
        rows = np.arange(len(samples))
        batches += [samples.take(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]

    def run() -> None:
        for batch in batches:
            extractor(batch)

    return run


def measure(extractor: Extractor, samples: Path, real: Path, scratch: Path) -> dict[str, float]:
    """All of it: from files to numbers."""
    run = Pass(extractor=extractor, batch_size=BATCH, scratch=scratch, ranks=Ranks())
    return compare(METRICS, side(run, samples), side(run, real), NEIGHBOURS)


def side(run: Pass, path: Path) -> Side:
    """One of both, gone through."""
    images = Samples(path)
    measured = run.over(images, Wanted(pool=True, keep=fair_sample(len(images), len(images))))
    assert measured.statistics.pool is not None
    return Side(pool=measured.statistics.pool.gaussian(), features=measured.features.rows)


def peak(images: int, real: int, threads: int) -> float:
    """Largest resident memory in MB of a process that does nothing else but measure."""
    numbers = ["--threads", str(threads), "--peak", str(images), str(real)]
    command = [sys.executable, "-m", "benchmarks.evaluation", *numbers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def print_peak(images: int, real: int) -> None:
    """What `peak` starts; Linux keeps the number."""
    with tempfile.TemporaryDirectory() as folder:
        drawn, photos = (write(Path(folder) / f"{i}.npz", count, i) for i, count in enumerate((images, real)))
        measure(open_extractor(EXTRACTOR, Path(folder), pick_device()), drawn, photos, Path(folder))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Time both in turn, then measure both peaks."""
    parser = argparse.ArgumentParser(description="Cost of a whole measurement over its extractor's, and peak memory.")
    add = parser.add_argument
    add("--json", action="store_true", help="print JSON")
    add("--rounds", type=int, default=3, help="timed rounds; medians are reported (default %(default)s)")
    add("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    add("--images", type=int, default=2000, help="of each side (default %(default)s)")
    add("--peak", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(*options.peak)
        return
    images, device = options.images, pick_device()
    extractor = open_extractor(EXTRACTOR, Path(), device)
    with tempfile.TemporaryDirectory() as folder:
        samples, real = (write(Path(folder) / f"{i}.npz", images, i) for i in range(2))
        runs = {
            "bare": bare(extractor, samples, real),
            "whole": lambda: measure(extractor, samples, real, Path(folder)),
        }
        seconds = in_turn(runs, options.rounds)
    small, large = (peak(count, images, options.threads) for count in (images, GROWTH * images))
    numbers = {
        "device": str(device),
        "bare extractor, images/s": 2 * images / seconds["bare"],
        "whole measurement, images/s": 2 * images / seconds["whole"],
        "whole / bare (target >= 0.95)": seconds["bare"] / seconds["whole"],
        f"peak memory, {images} samples, MB": small,
        f"peak memory, {GROWTH * images} samples, MB": large,
        "peak memory, large / small (target <= 1.05)": large / small,
    }
    show(numbers, options.json)


if __name__ == "__main__":
    main()
