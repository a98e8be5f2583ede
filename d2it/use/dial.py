"""`python -m d2it dial`: one trained model drawn at several shares of fine regions: what detail gives, and costs.

The same seeds and classes at each setting. Settings are drawn in turn, batch by batch, so that a machine whose speed
changes treats them alike.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from tabulate import tabulate
from torch import Tensor

from d2it import pictures
from d2it.counting import content_pass, multiply_adds
from d2it.device import pick_device
from d2it.diffusion.prediction import Prediction
from d2it.diffusion.samplers import SAMPLERS, sampling_schedule
from d2it.diffusion.schedule import noise_level
from d2it.errors import UserError
from d2it.evaluation.class_agreement import agreement
from d2it.evaluation.features import open_extractor
from d2it.evaluation.images import PreparedImages
from d2it.evaluation.measure import Measured, Pass, Side, compare
from d2it.evaluation.metrics import check_counts
from d2it.evaluation.statistics import Wanted
from d2it.files import write_text
from d2it.progress import Progress
from d2it.ranks.ranks import Ranks
from d2it.size import Size
from d2it.use.model import D2iT
from d2it.use.settings import LATE, Settings

EXTRACTOR = "efficientnet_lite0"  # installed, no download
SHOWN = 12  # images in the picture's rows
BATCH = 16  # of the extractor


@dataclass(kw_only=True)
class Setting:
    """A turn of the dial, and what is measured of it."""

    fine_ratio: float | None  # None: as many as the grain transformer draws
    refine: str = "always"
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    maps: list[NDArray[np.uint8]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """For the page."""
        share = "as drawn" if self.fine_ratio is None else f"{self.fine_ratio:g}"
        return share if self.refine == "always" else f"{share}, RefineNet late"


class DrawnImages:
    """Images in memory, as the evaluation takes them."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """`images`: (N, H, W, 3)."""
        self._images, self.size = images, Size.of(images.shape[1:3])
        self.labels: NDArray[np.int64] | None = labels

    def __len__(self) -> int:
        return len(self._images)

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `indices` (B,), (B, H, W, 3)."""
        taken: NDArray[np.uint8] = self._images[indices]
        return taken


def dial(model: D2iT, folder: Path, out: Path, *, ratios: Sequence[float], images: int) -> str:
    """Draw, measure, and write out/dial.md and out/dial.png; returns the table.

    Args:
        model: with two grains.
        folder: the pipeline's outputs, whose prepared images are compared with.
        out: a folder, made if need be.
        ratios: shares of fine regions, each 0 to 1.
        images: drawn at each setting.

    Raises:
        UserError: the folder lacks the images, or something cannot be measured.
    """
    train, validation = (_prepared(folder, half) for half in ("train", "validation"))
    check_counts(["fd", "kid"], {"images": images, "validation": len(validation)}, 1)
    settings = [Setting(fine_ratio=ratio) for ratio in (*ratios, None)] + [Setting(fine_ratio=None, refine="late")]
    labels = np.arange(images) % max(1, model.content.no_class)
    _draw(model, settings, labels)
    rows = [_row(model, setting) for setting in settings]
    for row, numbers in zip(rows, _measure(settings, labels, train, validation), strict=True):
        row |= numbers
    table = tabulate([row.values() for row in rows], list(rows[0]), tablefmt="github", disable_numparse=True)
    out.mkdir(parents=True, exist_ok=True)
    pictures.save_png(out / "dial.png", _picture(settings, model))
    write_text(out / "dial.md", _page(table, images, len(validation), model.settings))
    return table


def _prepared(folder: Path, half: str) -> PreparedImages:
    if not (folder / "prepare" / half).is_dir():
        raise UserError(
            f"{folder}: lacks prepare/{half}: must be a pipeline's outputs, with the images to compare with"
        )
    return PreparedImages(folder / "prepare" / half)


def _draw(model: D2iT, settings: Sequence[Setting], labels: NDArray[np.int64]) -> None:
    size = model.batch_size()
    with Progress(len(settings) * len(labels), "dial") as progress:
        for start in range(0, len(labels), size):
            part = labels[start : start + size].tolist()
            for setting in settings:
                began = time.perf_counter()
                drawn = model.sample(
                    part, list(range(start, start + len(part))), fine_ratio=setting.fine_ratio,
                    refine=setting.refine, progress=False,
                )  # fmt: skip
                setting.seconds += time.perf_counter() - began
                setting.images.append(np.stack([np.asarray(image) for image in drawn.images]))
                setting.maps.append(drawn.grain_maps)
                progress.update(len(part))


def _row(model: D2iT, setting: Setting) -> dict[str, str]:
    maps = np.concatenate(setting.maps)
    fine = float(maps.mean())
    s = model.settings.changed(objective=model.objective, refine=setting.refine)
    return {
        "fine ratio": setting.name, "reached": f"{fine:.2f}",
        "multiply-adds, G": f"{content_multiply_adds(model, s, fine) / 1e9:.2f}",
        "seconds": f"{setting.seconds / len(maps):.3f}",
    }  # fmt: skip


def content_multiply_adds(model: D2iT, settings: Settings, fine: float) -> float:
    """Of the content transformer's passes for one image with this share of fine regions, guidance included."""
    passes = [partial(content_pass, model.content, [1 - share, share]) for share in (fine, 0.0)]
    refined, coarse = (multiply_adds(one, model.device) for one in passes)
    low, high = settings.guidance_interval
    total = 0.0
    for level in _levels(model, settings):
        guided = settings.guidance != 1 and model.content.no_class and low <= level <= high
        total += (refined if level <= settings.refine_below else coarse) * (2 if guided else 1)
    return total


def _levels(model: D2iT, settings: Settings) -> list[float]:
    """Noise levels t / T of all predictions that the sampler asks for: it runs on a latent of one number."""
    schedule = sampling_schedule(model.schedule.to(torch.device("cpu")), settings.sampler, settings.steps)
    levels: list[float] = []

    def predict(z: Tensor, index: Tensor) -> Prediction:
        levels.append(noise_level(schedule, index))
        return Prediction(z, z, z)

    SAMPLERS[settings.sampler](schedule, predict, lambda: torch.zeros(1, 1, 1, 1))
    return levels


def _measure(
    settings: Sequence[Setting], labels: NDArray[np.int64], train: PreparedImages, validation: PreparedImages
) -> list[dict[str, str]]:
    classes = int(labels.max()) + 1
    extractor = open_extractor(EXTRACTOR, Path(), pick_device())
    total = len(train) + len(validation) + len(settings) * len(labels)
    with TemporaryDirectory() as scratch, Progress(total, "dial: measure") as progress:
        run = Pass(extractor=extractor, batch_size=BATCH, scratch=Path(scratch), ranks=Ranks(), advance=progress.update)
        taught = run.over(train, Wanted(classes=classes)).statistics.classes if classes > 1 else None
        classifier = taught.fit() if taught is not None else None
        real = run.over(validation, _all_of(len(validation)))
        rows = []
        for setting in settings:
            drawn = run.over(DrawnImages(np.concatenate(setting.images), labels), _all_of(len(labels)))
            numbers = compare(["fd", "kid"], _side(drawn), _side(real), 1)
            row = {
                "KID": f"{numbers['kid']:.3f} ± {numbers['kid_standard_error']:.3f}",
                "Frechet distance": f"{numbers['fd']:.0f}",
            }
            if classifier is not None:
                row["class agreement"] = f"{agreement(classifier, drawn.features.rows, labels):.3f}"
            rows.append(row)
    return rows


def _all_of(count: int) -> Wanted:
    return Wanted(pool=True, keep=np.arange(count))


def _side(measured: Measured) -> Side:
    assert measured.statistics.pool is not None
    return Side(pool=measured.statistics.pool.gaussian(), features=measured.features.rows)


def _picture(settings: Sequence[Setting], model: D2iT) -> NDArray[np.uint8]:
    """A row for each setting: the same seeds and classes, with the grain maps that they were drawn on."""
    shown = [np.concatenate(setting.images)[:SHOWN] for setting in settings]
    rows, captions = [], []
    for setting, images in zip(settings, shown, strict=True):
        large = pictures.enlarge(images, pictures.legible(images))
        maps = np.concatenate(setting.maps)[:SHOWN]
        rows += [large, pictures.overlay(large, maps, model.grain.grains)]
        captions += [setting.name, ""]
    return pictures.grid(rows, captions)


def _page(table: str, images: int, real: int, settings: Settings) -> str:
    return f"""# The dial of detail

One model; {images:,} samples at each setting with the same seeds and classes,
{settings.sampler} with {settings.steps} steps and guidance {settings.guidance:g}.

`fine ratio` is the share of each image's regions that is fine, those that the grain transformer holds most likely to
be; 'as drawn': as many as it draws; 'RefineNet late': at the lower {LATE:g} of noise levels alone. Multiply-adds are
those of the content transformer for one image, counted; seconds are per image, decoding and grain map included,
measured in turn on one machine. KID with its standard error, Frechet distance and class agreement by
{EXTRACTOR}, against {real:,} held-out images.

{table}

![the same seeds at each setting, and their grain maps](dial.png)
"""
