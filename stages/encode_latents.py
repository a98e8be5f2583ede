"""Stage encode_latents: the posterior's moments, grain maps and labels of every photo, plain and mirrored."""

import numpy as np
import torch

from d2it.data.arrays import Arrays
from d2it.data.description import read_description
from d2it.data.latents import LatentWriter, code_moments
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
    """Writes train/, of each photo and, with `data.flip`, then of each mirrored one:

    - moments-*.npy, float16 (codes, 2, z): mean and std of each code, once, photo by photo, and inside a photo by the
      code's first position, row by row;
    - moments_starts-*.npy, int64 (rows + 1,): a photo's first code, and the end of the last photo's;
    - grain_maps-*.npy, uint8 (rows, h/S, w/S), and labels-*.npy, int64 (rows,);

    copies.npy, int64 (k,): positions along a side that a code of each grain stands for, coarsest first;
    regions_by_label.npy, float64 (classes, k): regions of each grain in all photos of a class; and config.json with
    DVAE, data and shares of grains.

    Returns:
        The measured share of regions of each grain.
    """
    check_inputs(stage, "prepare", "train_dvae")
    model = load_dvae(stage.outputs / "train_dvae", stage.device)
    photos = Photos(stage.outputs / "prepare" / "train", stage.params.data.flip)

    def encode(start: int) -> Arrays:
        batch = photos.take(np.arange(start, min(start + BATCH, photos.rows)), stage.device)
        maps = grain_maps(batch.entropy, model.thresholds)
        on_device = torch.from_numpy(maps).to(stage.device)
        posterior = model.encode(batch.images, on_device)
        moments = code_moments(posterior.mean, posterior.std, on_device, model.copies)
        return moments, maps, batch.labels.cpu().numpy()

    encoded = in_order(stage.ranks, range(0, photos.rows, BATCH), encode)
    if not stage.main_rank:
        return {}
    classes = max(1, len(read_description(stage.outputs / "prepare").classes))
    regions = np.zeros((classes, len(model.copies)))  # of each class and grain
    writing = LatentWriter(
        stage.out / "train", rows=photos.rows, latent_channels=model.latent_channels, region_grid=photos.region_grid,
        copies=model.copies,
    )  # fmt: skip
    with writing as writer, Progress(photos.rows, "encode_latents") as progress:
        for moments, maps, labels in encoded:
            np.add.at(regions, labels, grain_counts(maps, regions.shape[1]))
            writer.append(moments, maps, labels)
            progress.update(len(maps))
    shares = [float(share) for share in regions.sum(0) / regions.sum()]
    np.save(stage.out / "train" / "regions_by_label.npy", regions)
    origin = {"dvae": identity(stage.outputs / "train_dvae"), "grain_shares": shares}
    write_config(stage.out / "train", describe(model) | about(model) | origin)
    return {f"share_of_grain_{g + 1}": share for g, share in enumerate(shares)} | {"fine_ratio": shares[-1]}
