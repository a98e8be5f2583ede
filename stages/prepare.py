"""prepare: images in, shards out; with the entropy of each region, its quantiles, and grain maps to look at."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2it import pictures
from d2it.data.description import DataDescription, write_description
from d2it.data.imageset import Source
from d2it.data.shards import Shards
from d2it.data.sources import open_source, summary
from d2it.data.write import HALVES, Allowed, Written, check_space, gather, shards_of, write_shards
from d2it.files import link_files
from d2it.grain.entropy import region_entropy
from d2it.grain.thresholds import entropy_quantiles, entropy_thresholds, grain_maps
from d2it.params.sections import Params
from d2it.progress import Progress
from pipeline.root import find_root
from stages.stage import Stage

PHOTOS = 8  # in the picture of grain maps
PHOTO_PIXELS = 192  # about this wide
DAMAGED = "damaged.csv"
FINE_RATIOS = (0.25, 0.5, 0.75)

log = logging.getLogger(__name__)


def main(stage: Stage) -> dict[str, float]:
    """Write the shards, `data.json`, `entropy_quantiles.npy`, `damaged.csv` and two pictures.

    Raises:
        DataError: the images cannot be used; what was written is removed, but `damaged.csv`.
    """
    params, out = stage.params, stage.out
    source = open_source(params.data, find_root())
    total = len(source.train) + len(source.validation)
    if stage.main_rank:
        for line in summary(source):
            print(f"prepare: {line}", flush=True)
        write_description(out, describe(source, params))
    try:
        written = write_halves(stage, source)
    except BaseException:
        (out / "data.json").unlink(missing_ok=True)
        raise
    if written is None:
        return {}
    if written.damaged:
        log.warning("%d of %d images cannot be read and were left out: %s", written.damaged, total, out / DAMAGED)
    if written.enlarged:
        log.warning("data.image_size: %d of %d images are smaller and were enlarged", written.enlarged, total)
    quantiles = entropy_quantiles(Shards(out / "train", "entropy").arrays)
    np.save(out / "entropy_quantiles.npy", quantiles)

    shown = {
        "grain_maps": grain_map_picture(
            out / ("validation" if written.validation else "train"), source.classes, quantiles
        ),
        "entropy_histogram": entropy_histogram(quantiles),
    }
    for name, picture in shown.items():
        pictures.save_png(out / f"{name}.png", picture)
    write_description(out, describe(source, params, written))
    numbers = {
        "train_images": float(written.train), "validation_images": float(written.validation),
        "classes": float(len(source.classes)), "enlarged_images": float(written.enlarged),
        "mean_entropy": float(quantiles.mean()), "median_entropy": float(np.median(quantiles)),
    }  # fmt: skip
    stage.report(0, numbers, shown)
    return numbers


def write_halves(stage: Stage, source: Source) -> Written | None:
    """Both halves, with the entropy of each region; the ranks share the shards. None on all ranks but 0.

    Shards are kept in the scratch folder, so that what was killed goes on with those that are missing.
    """
    S, data, ranks = stage.params.grain.region_size, stage.params.data, stage.ranks
    measure = partial(region_entropy, region_size=S, bandwidth=stage.params.grain.bandwidth)
    if stage.main_rank:
        check_space(source, stage.scratch)
    own = shards_of(source)[ranks.rank :: ranks.size]
    label = f"prepare, rank 0 of {ranks.size}" if ranks.size > 1 else "prepare"
    with Progress(sum(shard.stop - shard.start for shard in own), label) as progress:
        advance = progress.update if stage.main_rank else lambda _: None
        write_shards(source, own, stage.scratch, region_size=S, measure=measure, advance=advance)
    ranks.barrier()
    if not stage.main_rank:
        return None
    allowed = Allowed(data.damaged_share if data.damaged == "skip" else 0.0, stage.out / DAMAGED)
    written = gather(source, stage.scratch, allowed)
    for half in HALVES:
        link_files((stage.scratch / half).glob("*.npy"), stage.out / half)
    return written


def describe(source: Source, params: Params, written: Written | None = None) -> DataDescription:
    """What a source holds; what was written of it, once it is."""
    train, validation = source.train, source.validation
    return DataDescription(
        train=written.train if written else len(train), validation=written.validation if written else len(validation),
        classes=source.classes, labels=params.data.labels, image_size=params.data.image_size,
        fingerprint=written.fingerprint if written else "",
        train_names=[*train.names[:1], *train.names[-1:]],
        validation_names=[*validation.names[:1], *validation.names[-1:]],
        unlabelled=int((validation.labels < 0).sum()), damaged=written.damaged if written else 0,
        left_out={reason: len(names) for reason, names in source.left_out.items()},
    )  # fmt: skip


def grain_map_picture(folder: Path, classes: list[str], quantiles: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Photos of different classes, plain and with the grain map of each fine ratio (two grains, whatever k is)."""
    images, labels, entropy = (Shards(folder, name) for name in ("images", "labels", "entropy"))
    chosen = of_each_class(labels.take(np.arange(len(labels))), PHOTOS)
    photos, measured = images.take(chosen), entropy.take(chosen)
    photos = pictures.enlarge(photos, max(1, PHOTO_PIXELS // photos.shape[2]))
    columns = [photos]
    for ratio in FINE_RATIOS:
        maps = grain_maps(measured, entropy_thresholds(quantiles, [1 - ratio, ratio]))
        columns.append(pictures.overlay(photos, maps, 2))
    captions = [classes[label] if label >= 0 else "" for label in labels.take(chosen)] if classes else []
    ratios = [f"fine ratio {ratio}" for ratio in FINE_RATIOS]
    return pictures.grid(list(np.stack(columns, 1)), captions, ["image", *ratios])


def entropy_histogram(quantiles: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Training region entropies, with the threshold of each fine ratio."""
    marks = [(entropy_thresholds(quantiles, [1 - ratio, ratio])[0], str(ratio)) for ratio in FINE_RATIOS]
    return pictures.histogram(quantiles, "region entropy, nats; lines: thresholds of fine ratios", marks)


def of_each_class(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices of at most `count` images, spread evenly over the classes and over each class."""
    present = np.unique(labels)
    present = present[np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)]
    each = -(-count // len(present))
    chosen = []
    for label in present:
        members = np.flatnonzero(labels == label)
        n = min(each, len(members))
        chosen.append(members[((np.arange(n) + 0.5) / n * len(members)).astype(int)])
    return np.concatenate(chosen)[:count]
