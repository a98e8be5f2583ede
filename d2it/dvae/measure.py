"""What a trained DVAE is measured by: its latent scale and the PSNR of its reconstructions."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from d2it.data.photos import Photos
from d2it.dvae.model import DynamicVAE
from d2it.finite import require_finite
from d2it.grain.codes import code_weight, enlarge
from d2it.grain.thresholds import grain_maps

SCALE_PHOTOS = 8192  # enough for the scale's fourth digit
BATCH_SIZE = 16  # of no param: part of the numbers' rounding


def _batches(model: DynamicVAE, photos: Photos, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and grain maps of `count` photos, evenly spaced, since folders are prepared class by class."""
    device = next(model.parameters()).device
    rows = np.arange(count) * photos.photos // count
    for start in range(0, count, BATCH_SIZE):
        batch = photos.take(rows[start : start + BATCH_SIZE], device)
        yield batch.images, torch.from_numpy(grain_maps(batch.entropy, model.thresholds)).to(device)


@torch.no_grad()
def latent_scale(model: DynamicVAE, photos: Photos) -> float:
    """1 / standard deviation of the posterior's draws over photos of the training set, each code once, in float64.

    Our reading: LDM's 0.18215 is this number for its own VAE. The posterior's own variance is added to the means'.
    """
    count, total, squares = 0.0, 0.0, 0.0
    for images, maps in _batches(model, photos, min(photos.photos, SCALE_PHOTOS)):
        posterior = model.encode(images, maps)
        weight = code_weight(maps, model.copies).double()
        mean, variance = require_finite(posterior.mean, "latents").double(), posterior.std.double() ** 2
        count += float(weight.sum()) * mean.shape[1]
        total += float((mean * weight).sum())
        squares += float(((mean**2 + variance) * weight).sum())
    return 1 / math.sqrt(squares / count - (total / count) ** 2)


@torch.no_grad()
def reconstruction_psnr(model: DynamicVAE, photos: Photos, region_size: int) -> tuple[float, float]:
    """PSNR in dB of reconstructions, and of each region replaced by its mean colour, over all photos.

    Of the mean squared error over all pixels of all photos, images in [0, 1].
    """
    errors, baseline, values = 0.0, 0.0, 0
    for images, maps in _batches(model, photos, photos.photos):
        reconstructed = model.reconstruct(images, maps)
        flat = enlarge(F.avg_pool2d(images, region_size), region_size)
        errors += float((((images - reconstructed) / 2) ** 2).double().sum())
        baseline += float((((images - flat) / 2) ** 2).double().sum())
        values += images.numel()
    return _psnr(errors / values), _psnr(baseline / values)


def _psnr(mse: float) -> float:
    return 10 * math.log10(1 / max(mse, 1e-10))
