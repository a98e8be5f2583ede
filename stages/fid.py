"""Stage fid: samples beside real images, and reconstructions beside their originals, by their Frechet distances.

rFID is measured here and not in train_dvae, so that a change in evaluation never retrains.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from d2it import pictures
from d2it.data.arrays import Arrays
from d2it.data.description import read_description
from d2it.data.photos import Photos, to_uint8
from d2it.data.shards import Shards, Shuffled
from d2it.dvae.model import DynamicVAE, load_dvae
from d2it.evaluation.features import RANDOM_SEED, InceptionFeatures, load_inception_weights, random_weights
from d2it.evaluation.frechet import frechet_distance
from d2it.evaluation.precision_recall import nearest, precision_recall
from d2it.evaluation.reference import Reference, load_reference, save_reference
from d2it.evaluation.statistics import ImageStatistics, measured_features
from d2it.grain.thresholds import grain_maps
from d2it.params.sections import FIDParams
from d2it.progress import Progress
from d2it.ranks.in_order import in_order
from d2it.weights import INCEPTION, locate
from pipeline.errors import StageError
from stages.lineage import check_inputs
from stages.stage import Stage

Take = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # indices (B,) -> images (B, H, W, 3)

SHOWN = 8  # samples beside their nearest reference images
SHOWN_PIXELS = 128  # about this wide
FEATURES_VERSION = 2  # raise it when features change, so that no older reference is used

# With seeded weights every number has another name: nobody may take it for FID.
NAMES = {
    "inception": ("fid", "sfid", "inception_score", "precision", "recall", "rfid"),
    "random": (
        "random_frechet_distance", "random_spatial_frechet_distance", "random_inception_score", "random_precision",
        "random_recall", "random_reconstruction_frechet_distance",
    ),
}  # fmt: skip


def main(stage: Stage) -> dict[str, float]:
    """Writes reference.npz, unless one for the same images is there, and nearest.png; returns what NAMES says.

    Raises:
        StageError: inputs that cannot be compared, known before any work.
        WeightsError: the extractor's weights are missing or wrong.
    """
    fid, prepare = stage.params.fid, stage.outputs / "prepare"
    check_inputs(stage, "prepare", "train_dvae")
    samples = open_samples(stage.outputs / "sample" / "samples.npz")
    real, validation = open_images(prepare / fid.reference), open_images(prepare / "validation")
    check(fid, {"samples": len(samples), fid.reference: len(real)}, min(fid.reconstructions, len(validation)))
    model = load_dvae(stage.outputs / "train_dvae", stage.device)
    extractor = open_extractor(fid, stage.weights, stage.device)
    photos = Photos(prepare / "validation", flip=False)
    compared = min(fid.reconstructions, photos.photos)
    key = reference_key(fid, prepare)
    reference = load_reference(stage.out / "reference.npz", key) if stage.main_rank else None
    known = bool(stage.ranks.broadcast(torch.tensor(reference is not None)))
    same_originals = fid.reference == "validation" and compared == len(real)

    images = len(samples) + compared + (0 if known else len(real)) + (0 if same_originals else compared)
    with Progress(images, "fid") as progress:

        def measure(take: Take, count: int, keep: int = 0) -> ImageStatistics:
            """Of the first `count` images, on rank 0; on other ranks, which compute their share, of none."""

            def features(start: int) -> Arrays:
                return measured_features(extractor, take(np.arange(start, min(start + fid.batch_size, count))))

            batches = in_order(stage.ranks, range(0, count, fid.batch_size), features)
            return ImageStatistics(keep).measure(batches, progress.update)

        if not known:
            of_real = measure(real.take, len(real), fid.neighbour_images)
            if stage.main_rank:
                reference = Reference(of_real.pool.gaussian(), of_real.spatial.gaussian(), of_real.features)
                save_reference(stage.out / "reference.npz", reference, key)
        drawn = measure(samples.__getitem__, len(samples), fid.neighbour_images)
        reconstructed = measure(reconstructions(model, photos, validation.order), compared)
        of_originals = None if same_originals else measure(validation.take, compared)
    if not stage.main_rank:
        return {}

    assert reference is not None
    originals = of_originals.pool.gaussian() if of_originals else reference.pool
    picture = nearest_picture(samples, drawn.features, real, reference.features, name=fid.reference)
    pictures.save_png(stage.out / "nearest.png", picture)
    stage.report(0, {}, {"nearest": picture})
    shares = precision_recall(reference.features, drawn.features, fid.neighbours)
    numbers = (
        frechet_distance(reference.pool, drawn.pool.gaussian()),
        frechet_distance(reference.spatial, drawn.spatial.gaussian()), drawn.inception_score.score(),
        shares.precision, shares.recall, frechet_distance(originals, reconstructed.pool.gaussian()),
    )  # fmt: skip
    return dict(zip(NAMES[fid.extractor], numbers, strict=True))


def open_samples(path: Path) -> NDArray[np.uint8]:
    """Samples uint8 (N, H, W, 3), `arr_0` of the ADM evaluator's npz.

    Raises:
        StageError: the file holds something else.
    """
    with np.load(path, allow_pickle=False) as file:
        samples: NDArray[np.uint8] = file["arr_0"]
    if samples.dtype != np.uint8 or samples.ndim != 4 or samples.shape[3] != 3:
        raise StageError(f"{path}: arr_0: {samples.dtype} {samples.shape}: must be uint8 (N, H, W, 3)")
    return samples


def open_images(folder: Path) -> Shuffled:
    """The prepared images of one half of the data, in an order of which any first part is a fair sample.

    Raises:
        StageError: there are none.
    """
    try:
        return Shuffled(Shards(folder, "images"))
    except FileNotFoundError:
        raise StageError(f"{folder}: no images: fid compares with {folder.name} images; see data.validation") from None


def check(fid: FIDParams, counts: dict[str, int], reconstructions: int) -> None:
    """Whether there are enough images on both sides, `counts` by name, and enough reconstructions.

    Raises:
        StageError: there are not.
    """
    for name, count in [*counts.items(), ("reconstructions", reconstructions)]:
        if count < 2:
            raise StageError(f"{name}: {count} images: a Frechet distance needs at least 2")
    for name, count in counts.items():
        used = min(count, fid.neighbour_images)
        if used <= fid.neighbours:
            raise StageError(f"fid.neighbours = {fid.neighbours}: must be below the {used} {name} images compared")


def open_extractor(fid: FIDParams, weights: Path, device: torch.device) -> InceptionFeatures:
    """The network that `fid.extractor` names."""
    inception = fid.extractor == "inception"
    return InceptionFeatures(
        load_inception_weights(locate(INCEPTION, weights)) if inception else random_weights(), device
    )


def reference_key(fid: FIDParams, prepare: Path) -> str:
    """Names all that the reference statistics depend on, batches included, whose size changes the rounding."""
    data = read_description(prepare)
    parts = {
        "version": FEATURES_VERSION, "extractor": fid.extractor,
        "weights": INCEPTION.sha256 if fid.extractor == "inception" else f"seed {RANDOM_SEED}",
        "data": data.fingerprint, "reference": fid.reference,
        "images": data.train if fid.reference == "train" else data.validation,
        "neighbour_images": fid.neighbour_images, "batch_size": fid.batch_size,
    }  # fmt: skip
    return json.dumps(parts)


def reconstructions(model: DynamicVAE, photos: Photos, order: NDArray[np.int64]) -> Take:
    """By place in `order`: what the DVAE makes of a photo, uint8 (B, H, W, 3)."""

    @torch.inference_mode()
    def take(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        device = next(model.parameters()).device
        batch = photos.take(order[rows], device)
        maps = torch.from_numpy(grain_maps(batch.entropy, model.thresholds)).to(device)
        return to_uint8(model.reconstruct(batch.images, maps))

    return take


def nearest_picture(
    samples: NDArray[np.uint8], features: NDArray[np.float32], real: Shuffled, others: NDArray[np.float32], *, name: str
) -> NDArray[np.uint8]:
    """The first samples above the real images nearest to them by pool features, among those whose features are kept."""
    shown = samples[: min(SHOWN, len(features))]
    closest = real.take(nearest(features[: len(shown)], others))
    rows = [shown, closest]
    return pictures.grid(rows, ["sample", f"nearest {name} image"], scale=max(1, SHOWN_PIXELS // samples.shape[1]))
