"""Stage sample: draw grain maps, then images on them."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures, sample_pictures
from d2it.data.arrays import Arrays
from d2it.data.description import read_description
from d2it.data.latents import Latents
from d2it.data.parts import Parts
from d2it.data.photos import to_uint8
from d2it.data.samples import Samples, SamplesWriter
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.grain_source import RandomMaps, RealMaps, TransformerMaps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import Schedule, linear_schedule
from d2it.dvae.model import load_dvae
from d2it.params.sections import SampleParams
from d2it.progress import Progress
from d2it.ranks.in_order import in_order
from d2it.saved import read_config
from d2it.seeds import stream_seed
from d2it.size import Size
from d2it.transformer.content import load_content
from d2it.transformer.grain import load_grain
from stages.lineage import check_inputs
from stages.stage import Stage

FILMED, FRAMES, SECONDS, PAUSE = 9, 24, 3.0, 2.0  # images, and length of their film


class GrainMaps(Protocol):
    """A source of grain maps; a map depends on its image's stream and label alone."""

    def draw(self, labels: Tensor, streams: ImageStreams) -> Tensor:
        """(B, h, w) uint8 grain maps, one for each label (B,)."""


@torch.no_grad()
def main(stage: Stage) -> dict[str, float]:
    """Writes samples.npz (uint8 (N, H, W, 3) `arr_0`, int64 labels `arr_1`), grain_maps.npy, pictures and a film."""
    p, device = stage.params, stage.device
    check_inputs(stage, "prepare", "train_dvae", "encode_latents", "train_grain", "train_content")
    folder = stage.outputs / "train_content"
    config, content = read_config(folder), load_content(folder, device)
    dvae = load_dvae(stage.outputs / "train_dvae", device)
    schedule = linear_schedule(**config["schedule"]).to(device)
    generator = ImageGenerator(
        dvae=dvae, content=content, schedule=schedule, objective=config["objective"], steps=p.sample.steps,
        sampler=p.sample.sampler, guidance=p.sample.guidance, guidance_interval=p.sample.guidance_interval,
        guidance_channels=p.sample.guidance_channels, precision=p.sample.precision,
    )  # fmt: skip
    grain_maps, labels = open_grain_maps(stage, schedule), draw_labels(p.sample, content.no_class)

    def draw(start: int) -> Arrays:
        of_batch = torch.from_numpy(labels[start : start + p.sample.batch_size]).to(device)
        streams = ImageStreams(_seeds(p.sample.seed, range(start, start + len(of_batch))), device)
        grain_map = grain_maps.draw(of_batch, streams)
        return to_uint8(generator.images(of_batch, grain_map, streams)), grain_map.cpu().numpy()

    starts = range(0, p.sample.images, p.sample.batch_size)
    parts = Parts(stage.scratch)
    _draw_missing(stage, parts, starts, draw)
    if not stage.main_rank:
        return {}
    maps = _write(stage, parts, starts, labels)
    _pictures(stage, labels, maps, content.copies)
    _film(stage, generator, grain_maps, labels)
    return {"fine_ratio": float((maps == len(content.copies) - 1).mean()), "images": float(len(maps))}


def open_grain_maps(stage: Stage, schedule: Schedule) -> GrainMaps:
    """What `sample.grain_source` names; `schedule`: of training, also the grain transformer's."""
    sample = stage.params.sample
    if sample.grain_source == "transformer":
        model = load_grain(stage.outputs / "train_grain", stage.device)
        return TransformerMaps(model, schedule.respaced(sample.grain_steps), sample.grain_guidance)
    folder = stage.outputs / "encode_latents" / "train"
    if sample.grain_source == "real":
        return RealMaps(Latents(folder))
    regions = np.load(folder / "regions_by_label.npy", allow_pickle=False)
    return RandomMaps(regions, stage.params.region_grid)


def draw_labels(sample: SampleParams, classes: int) -> NDArray[np.int64]:
    """One label for each sample, (N,): 0, 1, 2, ... in turn, or at random; 0 for an unconditional model."""
    if sample.labels == "balanced":
        return np.arange(sample.images, dtype=np.int64) % max(1, classes)
    return np.random.default_rng(stream_seed(sample.seed, "labels")).integers(0, max(1, classes), sample.images)


def _draw_missing(stage: Stage, parts: Parts, starts: range, draw: Callable[[int], Arrays]) -> None:
    """Draw the batches, named by their first image, that `parts` lacks; rank 0 knows which, and keeps them."""
    images, size = stage.params.sample.images, stage.params.sample.batch_size
    lacking = stage.ranks.broadcast(torch.tensor([stage.main_rank and not parts.has(start) for start in starts]))
    todo = [start for start, lacks in zip(starts, lacking.tolist(), strict=True) if lacks]
    drawn = in_order(stage.ranks, todo, draw)
    if not stage.main_rank:
        return
    kept = images - sum(min(size, images - start) for start in todo)
    with Progress(images, "sample", start=kept) as progress:
        for start, batch in zip(todo, drawn, strict=True):
            parts.save(start, batch)
            progress.update(len(batch[0]))


def _write(stage: Stage, parts: Parts, starts: range, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The batches into one file, one after the other; returns the grain maps (N, h, w)."""
    maps, size = [], Size.of(parts.load(0)[0].shape[1:3])
    with SamplesWriter(stage.out / "samples.npz", images=len(labels), size=size) as writer:
        for start in starts:
            images, of_batch = parts.load(start)
            writer.append(images, labels[start : start + len(images)])
            maps.append(of_batch)
    joined: NDArray[np.uint8] = np.concatenate(maps)
    np.save(stage.out / "grain_maps.npy", joined)
    return joined


def _pictures(stage: Stage, labels: NDArray[np.int64], maps: NDArray[np.uint8], copies: Sequence[int]) -> None:
    """Samples by class with their grain maps, and the tokens that some of them took."""
    images = Samples(stage.out / "samples.npz")
    names = read_description(stage.outputs / "prepare").classes
    rows = sample_pictures.rows_by_class(labels)
    captions = [names[labels[row[0]]] for row in rows] if names else []
    some = np.array([row[0] for row in rows])
    shown = {
        "samples": sample_pictures.by_class(
            [images.take(row) for row in rows], [maps[row] for row in rows], captions, len(copies)
        ),
        "tokens": sample_pictures.tokens(images.take(some), maps[some], copies),
    }
    for name, picture in shown.items():
        pictures.save_png(stage.out / f"{name}.png", picture)
    stage.report(0, {}, shown)


def _film(stage: Stage, generator: ImageGenerator, grain_maps: GrainMaps, labels: NDArray[np.int64]) -> None:
    """The first samples as they come out of noise: what the model predicts after each step."""
    first = torch.from_numpy(labels[:FILMED]).to(stage.device)
    streams = ImageStreams(_seeds(stage.params.sample.seed, range(len(first))), stage.device)
    maps = grain_maps.draw(first, streams)
    steps = np.stack([to_uint8(images) for images in generator.denoise(first, maps, streams, FRAMES)])
    pictures.save_gif(stage.out / "denoising.gif", sample_pictures.film(steps), SECONDS, PAUSE)


def _seeds(seed: int, images: range) -> list[int]:
    """Of each image's stream."""
    return [stream_seed(seed, "sample", image) for image in images]
