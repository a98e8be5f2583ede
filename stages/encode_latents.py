"""Stage encode_latents: the posterior's moments, grain maps and labels of every photo, plain and mirrored."""

import numpy as np
import torch

from d2it.data.arrays import Arrays
from d2it.data.description import read_description
from d2it.data.latents import LatentWriter, stack_moments
from d2it.data.photos import Photos
from d2it.dvae.model import about, load_dvae
from d2it.grain.thresholds import grain_counts, grain_maps
from d2it.progress import Progress
from d2it.ranks.in_order import in_order
from d2it.saved import describe, identity, write_config
from stages.lineage import check_inputs
from stages.stage import Stage

BATCH = 32  # fixed, because another batch size may round differently


@torch.no_grad()
def main(stage: Stage) -> dict[str, float]:
    """Writes train/{moments,grain_maps,labels}-*.npy, train/regions_by_label.npy, float64 (classes, k), the number of
    regions of each grain in all photos of a class, and train/config.json with DVAE, data and shares of grains.

    Returns:
        The measured share of regions of each grain.
    """
    check_inputs(stage, "prepare", "train_dvae")
    model = load_dvae(stage.outputs / "train_dvae", stage.device)
    photos = Photos(stage.outputs / "prepare" / "train", stage.params.data.flip)

    def encode(start: int) -> Arrays:
        batch = photos.take(np.arange(start, min(start + BATCH, photos.rows)), stage.device)
        maps = grain_maps(batch.entropy, model.thresholds)
        posterior = model.encode(batch.images, torch.from_numpy(maps).to(stage.device))
        return stack_moments(posterior.mean, posterior.std), maps, batch.labels.cpu().numpy()

    encoded = in_order(stage.ranks, range(0, photos.rows, BATCH), encode)
    if not stage.main_rank:
        return {}
    classes = max(1, len(read_description(stage.outputs / "prepare").classes))
    regions, side = np.zeros((classes, len(model.copies))), photos.region_grid  # of each class and grain
    sizes = {"latent_channels": model.latent_channels, "latent_grid": side * model.copies[0], "region_grid": side}
    with (
        LatentWriter(stage.out / "train", rows=photos.rows, **sizes) as writer,
        Progress(photos.rows, "encode_latents") as progress,
    ):
        for moments, maps, labels in encoded:
            np.add.at(regions, labels, grain_counts(maps, regions.shape[1]))
            writer.append(moments, maps, labels)
            progress.update(len(maps))
    shares = [float(share) for share in regions.sum(0) / regions.sum()]
    np.save(stage.out / "train" / "regions_by_label.npy", regions)
    origin = {"dvae": identity(stage.outputs / "train_dvae"), "grain_shares": shares}
    write_config(stage.out / "train", describe(model) | about(model) | origin)
    return {f"share_of_grain_{g + 1}": share for g, share in enumerate(shares)} | {"fine_ratio": shares[-1]}
