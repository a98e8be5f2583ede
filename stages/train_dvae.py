"""Stage train_dvae: train the Dynamic VAE, measure its latent scale and its reconstructions."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.counting import size_numbers
from d2it.data.description import read_description
from d2it.data.photos import Photos, to_uint8
from d2it.dvae.discriminator import PatchDiscriminator
from d2it.dvae.kl_f8 import read_autoencoder_kl
from d2it.dvae.measure import latent_scale, reconstruction_psnr
from d2it.dvae.model import DynamicVAE, about, save_dvae
from d2it.dvae.perceptual import open_perceptual
from d2it.grain.thresholds import entropy_thresholds, grain_maps, reached_shares
from d2it.initial import is_autoencoder_kl, put_weights
from d2it.objectives.dvae import DVAETraining
from d2it.params.architecture import dvae_arguments
from d2it.saved import describe
from d2it.seeds import training_seeds
from d2it.size import Size
from d2it.training.curve import save_curve
from d2it.training.loop import train
from d2it.training.run import TrainingRun
from stages.initial import initial_folder
from stages.stage import Stage

SHOWN = 8
UNREACHED = 0.02  # difference of a share of regions from what was asked for that is worth a line

log = logging.getLogger(__name__)


def main(stage: Stage) -> dict[str, float]:
    """Writes weights.safetensors, config.json, curve.csv and reconstructions.png.

    Returns:
        PSNR in dB, the latent scale, parameters, and multiply-adds of one pass through encoder and decoder.
    """
    p, device = stage.params, stage.device
    model = _initial_model(stage)
    discriminator = PatchDiscriminator(p.dvae.discriminator_channels, p.dvae.discriminator_layers).to(device)
    perceptual = open_perceptual(p.dvae.perceptual, stage.weights).to(device) if p.dvae.perceptual_weight > 0 else None
    photos = Photos(stage.outputs / "prepare" / "train", p.data.flip)

    def preview(seen: int) -> None:
        shown = {"reconstructions": _reconstructions(stage, model, p.preview_images)} if p.preview_images else {}
        stage.report(seen, _judged(stage, model), shown)

    run = TrainingRun(
        params=p.dvae, micro_batch=p.micro_batch.dvae, rows=photos.rows,
        seeds=training_seeds(p.seed, p.seeds, "dvae"), device=device,
        checkpoints=stage.checkpoints(describe(model) | about(model), p.dvae), report=stage.report,
        label="train_dvae", ranks=stage.ranks, shown=("l1",), preview=preview if stage.previews else None,
    )  # fmt: skip
    training = DVAETraining(model, discriminator, p.dvae, photos=photos, run=run, perceptual=perceptual)
    if model.quantizer is not None:
        training.start_codebook()
    curve = train(training.updates(), run)
    if not stage.main_rank:
        return {}
    model.eval()
    model.latent_scale = latent_scale(model, photos)
    save_dvae(stage.out, model)
    save_curve(stage.out / "curve.csv", curve)
    picture = _reconstructions(stage, model, SHOWN)
    pictures.save_png(stage.out / "reconstructions.png", picture)
    stage.report(p.dvae.images, {}, {"reconstructions": picture})
    last = {name: curve[-1][name] for name in ("perplexity", "dead_codes") if name in curve[-1]}
    return _measure(stage, model) | last | size_numbers(model, lambda: _one_pass(model, p.data.image_size))


def _initial_model(stage: Stage) -> DynamicVAE:
    """A DVAE with initial weights; thresholds and fingerprint are the training set's."""
    p, prepare = stage.params, stage.outputs / "prepare"
    torch.manual_seed(training_seeds(p.seed, p.seeds, "dvae").weights)
    model = DynamicVAE(**dvae_arguments(p))
    if folder := initial_folder(stage):
        _start_from(model, folder)
    quantiles = np.load(prepare / "entropy_quantiles.npy", allow_pickle=False)
    model.thresholds = entropy_thresholds(quantiles, p.grain.shares)
    reached = reached_shares(quantiles, model.thresholds)
    if stage.main_rank and not np.allclose(reached, p.grain.shares, atol=UNREACHED):
        shares = ", ".join(f"{share:.2f}" for share in reached)
        log.warning(
            "grain.fine_ratio = %s: shares from coarse to fine are %s, for many regions have the same entropy "
            "(flat ones, most likely)",
            p.grain.fine_ratio,
            shares,
        )
    model.data = read_description(prepare).fingerprint
    return model.to(stage.device).to(memory_format=torch.channels_last)


def _start_from(model: DynamicVAE, folder: Path) -> None:
    if is_autoencoder_kl(folder):
        taken, whole = read_autoencoder_kl(model, folder), sum(p.numel() for p in model.parameters())
        print(f"train_dvae: {taken:,} of {whole:,} numbers are the autoencoder's, the others new", flush=True)
    else:
        put_weights(model, folder)


def _one_pass(model: DynamicVAE, image_size: Size) -> Tensor:
    model.encoder(torch.zeros(1, 3, *image_size))
    images: Tensor = model.decoder(torch.zeros(1, model.latent_channels, *image_size.divided(model.factors[0])))
    return images


def _measure(stage: Stage, model: DynamicVAE) -> dict[str, float]:
    validation = Photos(stage.outputs / "prepare" / "validation", flip=False)
    psnr, mean_colour = reconstruction_psnr(model, validation, stage.params.grain.region_size)
    print(f"validation PSNR {psnr:.2f} dB; each region replaced by its mean colour: {mean_colour:.2f} dB", flush=True)
    return {"psnr": psnr, "psnr_mean_colour": mean_colour, "latent_scale": model.latent_scale}


@torch.no_grad()
def _judged(stage: Stage, model: DynamicVAE) -> Mapping[str, float]:
    """Numbers of a preview, where they are asked for: of as many validation images, or of all of them."""
    if stage.judge is None:
        return {}
    photos, size = Photos(stage.outputs / "prepare" / "validation", flip=False), stage.params.micro_batch.dvae
    rows = np.unique(np.linspace(0, photos.photos - 1, stage.judge.images).round().astype(np.int64))
    pairs = []
    for i in range(0, len(rows), size):
        batch = photos.take(rows[i : i + size], stage.device)
        maps = torch.from_numpy(grain_maps(batch.entropy, model.thresholds)).to(stage.device)
        pairs.append((to_uint8(batch.images), to_uint8(model.reconstruct(batch.images, maps))))
    originals, reconstructed = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return stage.judge.reconstructions(originals, reconstructed)


@torch.no_grad()
def _reconstructions(stage: Stage, model: DynamicVAE, count: int) -> NDArray[np.uint8]:
    """Photos, their grain maps and reconstructions, one above the other."""
    photos = Photos(stage.outputs / "prepare" / "validation", flip=False)
    rows = np.linspace(0, photos.photos - 1, min(count, photos.photos)).round().astype(np.int64)
    batch = photos.take(rows, stage.device)
    maps = grain_maps(batch.entropy, model.thresholds)
    reconstructed = model.reconstruct(batch.images, torch.from_numpy(maps).to(stage.device))
    images, kept = (pictures.enlarge(x, pictures.legible(x)) for x in map(to_uint8, (batch.images, reconstructed)))
    overlaid = pictures.overlay(images, maps, len(model.copies))
    return pictures.grid([images, overlaid, kept], ["image", "grain map", "reconstruction"])
