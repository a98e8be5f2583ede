"""Stage sample: draw grain maps, then images on them."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.data.arrays import Arrays, save_npz
from d2it.data.latents import Latents
from d2it.data.parts import Parts
from d2it.data.photos import to_uint8
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import Schedule, linear_schedule
from d2it.dvae.model import load_dvae
from d2it.progress import Progress
from d2it.ranks.in_order import in_order
from d2it.saved import read_config
from d2it.seeds import stream_seed
from d2it.transformer.content import load_content
from d2it.transformer.grain import load_grain
from stages.lineage import check_inputs
from stages.stage import Stage

SHOWN, A_ROW = 24, 8


class GrainMaps:
    """Where the grain maps of samples come from (`sample.grain_source`); a map depends on its image's index alone."""

    def __init__(self, stage: Stage, schedule: Schedule) -> None:
        self.params, self.device, self.schedule = stage.params, stage.device, schedule
        folder = stage.outputs / "encode_latents" / "train"
        self.latents, self.shares = Latents(folder), read_config(folder)["grain_shares"]
        self.model = load_grain(stage.outputs / "train_grain", stage.device)
        self.region_grid = self.model.region_grid

    def draw(self, labels: Tensor, streams: ImageStreams) -> Tensor:
        """(B, h, w) uint8 grain maps, one for each label (B,)."""
        source = self.params.sample.grain_source
        if source == "transformer":
            return sample_grain_maps(self.schedule, self.model, labels, streams)
        if source == "real":
            place = streams.uniform(()).double().cpu().numpy()
            rows = (place * self.latents.rows).astype(np.int64)
            return self.latents.take_maps(rows, self.device)[0]
        edges = torch.tensor(self.shares, device=self.device).cumsum(0)[:-1]
        uniform = streams.uniform((self.region_grid, self.region_grid))
        return (uniform[..., None] >= edges).sum(-1).to(torch.uint8)


@torch.no_grad()
def main(stage: Stage) -> dict[str, float]:
    """Writes samples.npz (uint8 (N, H, W, 3) `arr_0`, int64 labels `arr_1`) and samples.png, grain_maps.npy."""
    p, device = stage.params, stage.device
    check_inputs(stage, "prepare", "train_dvae", "encode_latents", "train_grain", "train_content")
    folder = stage.outputs / "train_content"
    config = read_config(folder)
    content = load_content(folder, device)
    dvae = load_dvae(stage.outputs / "train_dvae", device)
    schedule = linear_schedule(**config["schedule"]).to(device)
    generator = ImageGenerator(
        dvae=dvae, content=content, schedule=schedule, objective=config["objective"], steps=p.sample.steps,
        sampler=p.sample.sampler, guidance=p.sample.guidance, guidance_interval=p.sample.guidance_interval,
    )  # fmt: skip
    grain_maps = GrainMaps(stage, schedule.respaced(p.sample.grain_steps))
    labels = np.arange(p.sample.images) % max(1, content.no_class)  # equal numbers of each class

    def draw(start: int) -> Arrays:
        stop = min(start + p.sample.batch_size, p.sample.images)
        streams = ImageStreams([stream_seed(p.seed, "sample", i) for i in range(start, stop)], device)
        of_batch = torch.from_numpy(labels[start:stop]).to(device)
        grain_map = grain_maps.draw(of_batch, streams)
        return to_uint8(generator.images(of_batch, grain_map, streams)), grain_map.cpu().numpy()

    starts = range(0, p.sample.images, p.sample.batch_size)
    parts = Parts(stage.scratch)
    _draw_missing(stage, parts, starts, draw)
    if not stage.main_rank:
        return {}
    size = grain_maps.region_grid * dvae.factors[-1]
    images = np.empty((p.sample.images, size, size, 3), np.uint8)
    maps = np.empty((p.sample.images, grain_maps.region_grid, grain_maps.region_grid), np.uint8)
    for start in starts:
        batch = slice(start, start + p.sample.batch_size)
        images[batch], maps[batch] = parts.load(start)
    save_npz(stage.out / "samples.npz", arr_0=images, arr_1=labels)
    np.save(stage.out / "grain_maps.npy", maps)
    _picture(stage, images, maps, len(content.copies))
    return {"fine_ratio": float((maps == len(content.copies) - 1).mean()), "images": float(len(images))}


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


def _picture(stage: Stage, images: NDArray[np.uint8], maps: NDArray[np.uint8], grains: int) -> None:
    """The first samples, with and without their grain maps."""
    images = pictures.enlarge(images[:SHOWN], pictures.legible(images.shape[1]))
    overlaid = pictures.overlay(images[:SHOWN], maps[:SHOWN], grains)
    rows = []
    for start in range(0, min(SHOWN, len(images)), A_ROW):
        rows += [images[start : min(start + A_ROW, SHOWN)], overlaid[start : start + A_ROW]]
    picture = pictures.grid(rows, ["sample", "grain map"] * (len(rows) // 2))
    pictures.save_png(stage.out / "samples.png", picture)
    stage.report(0, {}, {"samples": picture})
