"""Stage encode_latents: the posterior's moments, grain maps and labels of every photo, plain and mirrored."""

import numpy as np
import torch

from d2it.data.latents import LatentWriter
from d2it.data.photos import Photos
from d2it.dvae.model import DynamicVAE, load_dvae
from d2it.grain.thresholds import grain_maps, grain_shares
from d2it.progress import Progress
from stages.stage import Stage

BATCH = 32  # fixed, because another batch size may round differently


@torch.no_grad()
def main(stage: Stage) -> dict[str, float]:
    """Writes train/{moments,grain_maps,labels}-*.npy; returns the measured share of regions of each grain."""
    model = load_dvae(stage.outputs / "train_dvae", stage.device)
    photos = Photos(stage.outputs / "prepare" / "train", stage.params.data.flip)
    counts = np.zeros(len(model.copies))
    with (
        LatentWriter(stage.out / "train", photos.rows, *_sizes(model, photos)) as writer,
        Progress(photos.rows, "encode_latents") as progress,
    ):
        for start in range(0, photos.rows, BATCH):
            rows = np.arange(start, min(start + BATCH, photos.rows))
            batch = photos.take(rows, stage.device)
            maps = grain_maps(batch.entropy, model.thresholds)
            counts += np.array(grain_shares(maps, len(counts))) * len(rows)
            grain_map = torch.from_numpy(maps).to(stage.device)
            posterior = model.encode(batch.images, grain_map)
            writer.append(posterior.mean, posterior.std, grain_map, batch.labels)
            progress.update(len(rows))
    shares = counts / photos.rows
    return {f"share_of_grain_{g + 1}": float(share) for g, share in enumerate(shares)} | {
        "fine_ratio": float(shares[-1])
    }


def _sizes(model: DynamicVAE, photos: Photos) -> tuple[int, int, int]:
    """Latent channels, and the sides of the latent grid and of the grain map."""
    return model.config.latent_channels, photos.region_grid * model.copies[0], photos.region_grid
