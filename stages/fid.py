"""Stage fid: samples beside real images, and reconstructions beside their originals, in numbers.

Which ones, and their names: docs/evaluation.md. Reconstructions are measured here and not in train_dvae, so that a
change in evaluation never retrains.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.data.arrays import Arrays
from d2it.data.description import DataDescription, read_description
from d2it.data.latents import Latents, RowsByLabel
from d2it.data.photos import Photos, to_uint8
from d2it.data.samples import Samples
from d2it.dvae.model import DynamicVAE, load_dvae
from d2it.dvae.perceptual import open_perceptual
from d2it.evaluation.beside_real import beside_nearest, beside_real
from d2it.evaluation.class_agreement import ClassStatistics, agreement
from d2it.evaluation.features import open_extractor
from d2it.evaluation.frechet import frechet_distance
from d2it.evaluation.grain_maps import compare_maps, frequent_patterns, grain_maps_picture
from d2it.evaluation.images import Images, PreparedImages, Subset, check_same_size, fair_sample
from d2it.evaluation.measure import Measured, Measurement, Pass, Side, compare
from d2it.evaluation.metrics import number_name
from d2it.evaluation.precision_recall import nearest
from d2it.evaluation.protocol import GRAIN_MAPS, LARGEST_PSNR, protocol
from d2it.evaluation.reference import Identity, Reference, load_reference, save_reference
from d2it.evaluation.similarity import psnr, ssim
from d2it.evaluation.statistics import Wanted
from d2it.files import write_text
from d2it.grain.thresholds import grain_maps
from d2it.params.sections import Params
from d2it.progress import Progress
from pipeline.errors import StageError
from pipeline.image_counts import check_images, wanted_metrics
from stages.lineage import check_inputs
from stages.stage import Stage

SHOWN = 8  # samples beside their nearest reference images
REAL_MAPS = 4096  # that the samples' grain maps are compared with, at least
PATTERNS = 8  # of 2 x 2 regions, printed
VERSION = 3  # of what reference.npz holds; raise it when that changes, so that no older one is used


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is compared."""

    samples: Samples
    train: Images
    validation: Images
    data: DataDescription
    metrics: tuple[str, ...]  # see d2it/evaluation/measure.py
    half: str  # `fid.reference`
    taught: NDArray[np.int64]  # numbers of the training images that the classifier learns from
    kept: NDArray[np.int64]  # numbers of the reference images that precision, recall and KID use

    @property
    def reference(self) -> Images:
        """The real images that samples are compared with."""
        return self.train if self.half == "train" else self.validation

    @property
    def classes(self) -> int:
        """Of the training images; 0: none to tell apart."""
        return len(self.data.classes) if len(self.data.classes) > 1 else 0


def main(stage: Stage) -> dict[str, float]:
    """Writes reference.npz, unless one for the same images is there, three pictures and protocol.json.

    Returns:
        The numbers that protocol.json explains.

    Raises:
        UserError: inputs that cannot be compared, or weights that are missing or wrong; known before any work.
    """
    params, fid = stage.params, stage.params.fid
    check_inputs(stage, "prepare", "train_dvae", "encode_latents")
    inputs = open_inputs(stage)
    model = load_dvae(stage.outputs / "train_dvae", stage.device)
    perceptual = None
    if params.dvae.perceptual_weight > 0:
        perceptual = open_perceptual(params.dvae.perceptual, stage.weights).to(stage.device)
    extractor = open_extractor(fid.extractor, stage.weights, stage.device)
    identity = Identity(key=reference_key(params, inputs), extractor=extractor.identity)
    known = load_reference(stage.out / "reference.npz", identity) if stage.main_rank else None
    lacking = not bool(stage.ranks.broadcast(torch.tensor(known is not None)))

    real = len(inputs.validation) + (len(inputs.taught) if inputs.half == "train" or inputs.classes else 0)
    total = len(inputs.samples) + len(inputs.validation) + (real if lacking else 0)
    with Progress(total, "fid") as progress:
        run = Pass(
            extractor=extractor, batch_size=fid.batch_size, scratch=stage.scratch, ranks=stage.ranks,
            advance=progress.update,
        )  # fmt: skip
        measured = measure_real(run, inputs) if lacking else None
        all_samples = np.arange(len(inputs.samples))
        inception = extractor.name == "inception"
        drawn = run.over(inputs.samples, Wanted(pool=True, spatial=inception, score=inception, keep=all_samples))
        photos = Photos(stage.outputs / "prepare" / "validation", flip=False)
        reconstructed = measure_reconstructions(run, model, photos, perceptual)
    if not stage.main_rank:
        return {}

    if measured is not None:
        known = to_reference(inputs, *measured)
        take = (lambda rows: inputs.reference.take(inputs.kept[rows])) if inception else None
        save_reference(stage.out / "reference.npz", known, identity, take=take)
    assert known is not None
    numbers = numbers_of_samples(inputs, drawn, known, fid.neighbours)
    assert reconstructed.statistics.pool is not None
    numbers["rfd"] = frechet_distance(known.originals or known.pool, reconstructed.statistics.pool.gaussian())
    named = {number_name(name, extractor.name): value for name, value in numbers.items()}
    similarity = ["psnr", "ssim", *([params.dvae.perceptual] if perceptual is not None else [])]
    means = reconstructed.statistics.means
    named |= {f"reconstruction_{name}": float(x) for name, x in zip(similarity, means, strict=True)}

    shown = {
        "nearest": nearest_picture(inputs, drawn.features[:SHOWN], known.features),
        "beside_real": beside_real(inputs.samples, inputs.reference, inputs.data.classes if inputs.classes else []),
    }
    for name, picture in shown.items():
        pictures.save_png(stage.out / f"{name}.png", picture)
    stage.report(0, {}, shown)
    of_maps, real_maps = judge_grain_maps(stage, inputs)
    named |= {f"{GRAIN_MAPS}{name}": value for name, value in of_maps.items()}
    validation = len(inputs.validation)
    images = {
        "samples": len(inputs.samples), "reference": len(inputs.reference), "reference_kept": len(inputs.kept),
        "train": len(inputs.taught), "validation": validation, "reconstructions": validation,
        "real_grain_maps": real_maps,
    }  # fmt: skip
    how = protocol(
        params, sorted(named), images=images, extractor=extractor.identity, size=inputs.samples.size,
        data=inputs.data.fingerprint,
    )  # fmt: skip
    write_text(stage.out / "protocol.json", how)
    return named


def open_inputs(stage: Stage) -> Inputs:
    """Samples and real images, which can be compared.

    Raises:
        UserError: they cannot.
    """
    fid, prepare = stage.params.fid, stage.outputs / "prepare"
    data = read_description(prepare)
    samples = Samples(stage.outputs / "sample" / "samples.npz", check=stage.main_rank)
    check_images(
        stage.params, train=data.train, validation=data.validation, classes=len(data.classes), samples=len(samples)
    )  # fmt: skip
    train, validation = (PreparedImages(prepare / half) for half in ("train", "validation"))
    reference = train if fid.reference == "train" else validation
    kept = fair_sample(len(reference), fid.reference_images)
    taught = fair_sample(len(train), len(train) if fid.reference == "train" else fid.classifier_images)
    metrics = wanted_metrics(fid, len(data.classes))
    if "class_agreement" in metrics:
        if samples.labels is None:
            raise StageError(f"{samples.path}: no arr_1: class agreement needs the samples' labels")
        if train.labels is None or len(np.unique(train.labels[taught])) < 2:
            raise StageError(f"fid.classifier_images: {len(taught)} images of one class: must be of two or more")
    check_same_size([(str(samples.path), samples), (str(prepare / fid.reference), reference)])
    return Inputs(
        samples=samples, train=train, validation=validation, data=data, metrics=tuple(metrics), half=fid.reference,
        taught=taught, kept=kept,
    )  # fmt: skip


def reference_key(params: Params, inputs: Inputs) -> str:
    """Names all that reference.npz depends on beside the extractor; batches too, whose size changes the rounding."""
    parts = {
        "version": VERSION, "data": inputs.data.fingerprint, "classes": inputs.classes, "reference": inputs.half,
        "train": len(inputs.taught), "validation": inputs.data.validation,
        "reference_images": len(inputs.kept), "batch_size": params.fid.batch_size,
    }  # fmt: skip
    return json.dumps(parts)


def measure_real(run: Pass, inputs: Inputs) -> tuple[Measured | None, Measured]:
    """The training images, where they are the reference or teach a classifier, and the validation images."""
    inception = run.extractor.name == "inception"
    of_train = Wanted(classes=inputs.classes)
    if inputs.half == "train":
        of_train = Wanted(pool=True, spatial=inception, classes=inputs.classes, keep=inputs.kept)
    of_validation = Wanted(
        pool=True, spatial=inception and inputs.half == "validation", keep=np.arange(len(inputs.validation))
    )
    train = run.over(Subset(inputs.train, inputs.taught), of_train) if not of_train.nothing else None
    return train, run.over(inputs.validation, of_validation)


def to_reference(inputs: Inputs, train: Measured | None, validation: Measured) -> Reference:
    """What is kept of the real images."""
    of_reference = train if train is not None and inputs.half == "train" else validation
    features = of_reference.features[:] if inputs.half == "train" else validation.features.take(inputs.kept)
    classes: Arrays = ()
    recognised = None
    if train is not None and train.statistics.classes is not None:
        assert inputs.validation.labels is not None
        classes = train.statistics.classes.arrays()
        if (inputs.validation.labels >= 0).any():
            recognised = agreement(train.statistics.classes.fit(), validation.features.rows, inputs.validation.labels)
    pool, spatial, originals = of_reference.statistics.pool, of_reference.statistics.spatial, validation.statistics.pool
    assert pool is not None
    assert originals is not None
    return Reference(
        pool=pool.gaussian(), spatial=spatial.gaussian() if spatial else None, features=features, classes=classes,
        originals=originals.gaussian() if inputs.half == "train" else None, agreement=recognised,
    )  # fmt: skip


def numbers_of_samples(inputs: Inputs, drawn: Measured, reference: Reference, neighbours: int) -> dict[str, float]:
    """By names without the extractor."""
    statistics = drawn.statistics
    assert statistics.pool is not None
    samples = Side(
        pool=statistics.pool.gaussian(), spatial=statistics.spatial.gaussian() if statistics.spatial else None,
        score=statistics.score.score() if statistics.score else None, features=drawn.features.rows,
    )  # fmt: skip
    real = Side(pool=reference.pool, spatial=reference.spatial, features=reference.features)
    numbers = compare(inputs.metrics, samples, real, neighbours)
    if reference.classes:
        assert inputs.samples.labels is not None
        classifier = ClassStatistics.from_arrays(*reference.classes).fit()
        numbers["class_agreement"] = agreement(classifier, drawn.features.rows, inputs.samples.labels)
    if reference.agreement is not None:
        numbers["class_agreement_validation"] = reference.agreement
    return numbers


def measure_reconstructions(
    run: Pass, model: DynamicVAE, photos: Photos, perceptual: torch.nn.Module | None
) -> Measured:
    """Features of what the DVAE makes of all photos, and how near it is to them: PSNR, SSIM, perceptual distance."""
    device = next(model.parameters()).device

    @torch.inference_mode()
    def measure(batch: tuple[Tensor, NDArray[np.float32]]) -> Measurement:
        images, entropy = batch[0].to(device), batch[1]
        maps = torch.from_numpy(grain_maps(entropy, model.thresholds)).to(device)
        reconstructed = model.reconstruct(images, maps)
        pixels, originals = to_uint8(reconstructed), to_uint8(images)
        numbers = [np.minimum(psnr(originals, pixels), LARGEST_PSNR), ssim(originals, pixels)]
        if perceptual is not None:
            numbers.append(perceptual(images, reconstructed).double().cpu().numpy())
        return Measurement(run.extractor(pixels), np.stack(numbers, 1))

    def read(rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.float32]]:
        batch = photos.take(rows, torch.device("cpu"))
        return batch.images, batch.entropy

    wanted = Wanted(pool=True, numbers=2 if perceptual is None else 3)
    return run.through(wanted, read, measure, count=photos.photos)


def nearest_picture(inputs: Inputs, features: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The first samples, with their features, above the real images nearest to them, among those whose are kept."""
    closest = inputs.reference.take(inputs.kept[nearest(features, others)])
    return beside_nearest(inputs.samples.take(np.arange(len(features))), closest, inputs.half)


def judge_grain_maps(stage: Stage, inputs: Inputs) -> tuple[dict[str, float], int]:
    """The samples' grain maps beside those of training images of the same classes: numbers, and how many are real."""
    maps = np.load(stage.outputs / "sample" / "grain_maps.npy", allow_pickle=False)  # (N, h, w)
    labels = inputs.samples.labels if inputs.samples.labels is not None else np.zeros(len(maps), np.int64)
    of_real = np.resize(labels, max(len(labels), REAL_MAPS))
    latents = Latents(stage.outputs / "encode_latents" / "train")
    rows = RowsByLabel(latents.labels).pick(of_real, np.random.default_rng(0).random(len(of_real)))
    real, grains = latents.take_maps(rows, torch.device("cpu"))[0].numpy(), stage.params.grain.grains
    numbers = compare_maps(maps, real, grains)
    print("drawn against real grain maps: " + ", ".join(f"{k} {v:.4f}" for k, v in numbers.items()), flush=True)
    patterns = frequent_patterns(maps, real, grains, PATTERNS)
    print("2 x 2 patterns, drawn (real): " + ", ".join(f"{p} {a:.3f} ({b:.3f})" for p, a, b in patterns), flush=True)
    picture = grain_maps_picture(real, maps, grains)
    pictures.save_png(stage.out / "grain_maps.png", picture)
    stage.report(0, {}, {"grain_maps": picture})
    return numbers, len(real)
