"""Images to shards, and ImageNet's size in small: `python -m benchmarks.data [--rehearsal] [--images N]`.

Without `--rehearsal`: `prepare`'s work, entropies and shards included, over bare Pillow that decodes and resizes by the
same rule and writes nothing; JPEGs of 500 x 375 pixels from scikit-image's photos, to 256 x 256; threads of one process
and two processes for both. At least 0.85 is asked for.

With it: ImageNet's 1.28 million images, but of 32 x 32 pixels, as a folder of JPEGs in a thousand classes, through
`manifest`, `prepare`, `encode_latents` and 100 steps of `train_content` with tiny models,
each in a process of its own: seconds, peak memory, files and bytes. 20 minutes on two cores, 11 GB of disk.
"""

import argparse
import io
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.timing import in_turn, show
from d2it.data.crops import read_photos
from d2it.data.description import read_description
from d2it.data.sources import open_images
from d2it.data.write import shards_of, write_shards
from d2it.dvae.model import DynamicVAE, save_dvae
from d2it.grain.entropy import region_entropy
from d2it.grain.thresholds import entropy_thresholds
from d2it.params.architecture import dvae_arguments
from d2it.params.load import check_params, load_params
from d2it.params.sections import Params
from d2it.progress import Progress
from d2it.ranks.ranks import Ranks
from d2it.size import Size
from pipeline.manifest import read_manifest
from stages import encode_latents, prepare, train_content
from stages.stage import Stage

ROOT = Path(__file__).parents[1]
IMAGENET, CLASSES, TINY = 1_281_167, 1000, 32
SIZE, REGION, BANDWIDTH = 256, 16, 0.01
PHOTOS, PHOTO = 4096, (500, 375)
STEPS = 100


def photos(folder: Path, count: int, *, size: tuple[int, int], distinct: int, classes: int) -> None:
    """JPEGs in class folders: crops of scikit-image's photos, of which so many are distinct."""
    rng, sources, kept = np.random.default_rng(0), read_photos(), []
    for number in range(distinct):
        photo = Image.fromarray(sources[number % len(sources)])
        side = int(rng.integers(128, min(photo.size)))
        left, top = (int(rng.integers(0, whole - side + 1)) for whole in photo.size)
        out = io.BytesIO()
        photo.resize(size, box=(left, top, left + side, top + side)).save(out, "JPEG", quality=90)
        kept.append(out.getvalue())
    names = [f"n{class_:08d}" for class_ in range(classes)]
    for name in names:
        (folder / name).mkdir(parents=True)
    with Progress(count, "images") as progress:
        for number in range(count):
            name = names[number % classes]
            (folder / name / f"{name}_{number}.JPEG").write_bytes(kept[number % distinct])
            progress.update(1)


def bare(paths: list[Path]) -> None:
    """Pillow alone, by ADM's rule."""
    for path in paths:
        with Image.open(path) as file:
            image = file.convert("RGB")
        while min(image.size) >= 2 * SIZE:
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        width, height = (round(side * SIZE / min(image.size)) for side in image.size)
        left, top = (width - SIZE) // 2, (height - SIZE) // 2
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def ours(images: Path, out: Path, rank: int, ranks: int) -> None:
    """A rank's share of what `prepare` does, by one thread."""
    source = open_images(images, Size.of(SIZE), 0.0, 0)
    measure = partial(region_entropy, region_size=REGION, bandwidth=BANDWIDTH)
    write_shards(source, shards_of(source)[rank::ranks], out, region_size=REGION, measure=measure, threads=2 // ranks)


def over_pillow(count: int, rounds: int) -> dict[str, object]:
    """Rates of both, by two threads and by two processes."""
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(2, spawned) as processes:
        images, numbers = Path(name, "images"), iter(range(1 << 20))
        photos(images, count, size=PHOTO, distinct=200, classes=10)
        paths = sorted(images.rglob("*.JPEG"))
        batches = [paths[start : start + 64] for start in range(0, count, 64)]

        def fresh() -> Path:
            return Path(name, f"out-{next(numbers)}")

        def by_processes() -> None:
            out = fresh()
            list(processes.map(partial(ours, images, out), range(2), [2, 2]))

        with ThreadPoolExecutor(2) as threads:
            runs: dict[str, Callable[[], object]] = {
                "bare Pillow, threads": lambda: list(threads.map(bare, batches)),
                "prepare, threads": lambda: ours(images, fresh(), 0, 1),
                "bare Pillow, processes": lambda: list(processes.map(bare, batches)),
                "prepare, processes": by_processes,
            }
            seconds = in_turn(runs, rounds)
    rates: dict[str, object] = {f"{name}, images/s": count / value for name, value in seconds.items()}
    for kind in ("threads", "processes"):
        rates[f"over bare Pillow, {kind}"] = seconds[f"bare Pillow, {kind}"] / seconds[f"prepare, {kind}"]
    return rates


def rehearsal_params(images: Path) -> Params:
    """The demo's params with tiny images and models."""
    values: dict[str, Any] = load_params(ROOT / "params.yaml").model_dump(mode="json")
    values["data"] |= {"source": str(images), "image_size": TINY, "flip": False, "validation": 0.01}
    values["dvae"] |= {"channels": 8}
    values["content_transformer"] |= {"images": STEPS * 256, "batch_size": 256, "width": 64,
                                      "layers": 2, "warmup_images": 256, "cooldown_images": 256}  # fmt: skip
    values["micro_batch"] |= {"content_transformer": 256}
    values["refinenet"] |= {"layers": 1, "window": 2}
    return check_params(values)


def work(name: str, folder: Path) -> None:
    """One part of the rehearsal, by one thread: for two, what is computed here is too little."""
    torch.set_num_threads(1)
    params = rehearsal_params(folder / "images")
    stage = Stage(
        name=name, params=params, outputs=folder / "outputs", scratch=folder / "scratch" / name, weights=folder,
        device=torch.device("cpu"), ranks=Ranks(), report=lambda *_: None,
    )  # fmt: skip
    stage.out.mkdir(parents=True, exist_ok=True)
    stage.scratch.mkdir(parents=True, exist_ok=True)
    if name == "manifest":
        read_manifest(params.data, folder)
    elif name == "train_dvae":  # no training: an untrained one encodes as fast
        dvae, prepared = DynamicVAE(**dvae_arguments(params)), folder / "outputs" / "prepare"
        quantiles = np.load(prepared / "entropy_quantiles.npy", allow_pickle=False)
        dvae.thresholds = entropy_thresholds(quantiles, params.grain.shares)
        dvae.data = read_description(prepared).fingerprint
        save_dvae(stage.out, dvae)
    else:
        {"prepare": prepare, "encode_latents": encode_latents, "train_content": train_content}[name].main(stage)


def apart(name: str, folder: Path) -> None:
    """One part in this process; leaves its peak memory."""
    work(name, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / f"{name}.json").write_text(json.dumps(peak))


def rehearsal(count: int) -> dict[str, object]:
    """Seconds and peak memory of each part, files and bytes of what it leaves."""
    numbers: dict[str, object] = {"images": count}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos(folder / "images", count, size=(TINY, TINY), distinct=1000, classes=CLASSES)
        for part in ("manifest", "prepare", "train_dvae", "encode_latents", "train_content"):
            start = time.perf_counter()
            process = multiprocessing.get_context("spawn").Process(target=apart, args=(part, folder))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{part}: exit code {process.exitcode}")
            numbers[f"{part}, s"] = time.perf_counter() - start
            numbers[f"{part}, peak MB"] = json.loads((folder / f"{part}.json").read_text())
            files = [path for path in (folder / "outputs" / part).rglob("*") if path.is_file()]
            numbers[f"{part}, files"], numbers[f"{part}, MB"] = len(files), sum(f.stat().st_size for f in files) / 1e6
    return numbers


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.data", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--rehearsal", action="store_true", help="the whole way of a million tiny images")
    parser.add_argument("--images", type=int, help=f"how many (default: {PHOTOS}, of the rehearsal {IMAGENET:,})")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds; medians are reported (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.rehearsal:
        show(rehearsal(options.images or IMAGENET), options.json)
    else:
        show(over_pillow(options.images or PHOTOS, options.rounds), options.json)


if __name__ == "__main__":
    main()
