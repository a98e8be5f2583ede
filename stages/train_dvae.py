"""Stage train_dvae: train the Dynamic VAE, measure its latent scale and its reconstructions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.data.photos import Photos, to_uint8
from d2it.dvae.discriminator import PatchDiscriminator
from d2it.dvae.loss import DVAELoss
from d2it.dvae.measure import latent_scale, reconstruction_psnr
from d2it.dvae.model import DVAEConfig, DynamicVAE, describe, save_dvae
from d2it.grain.codes import codes_once
from d2it.grain.thresholds import entropy_thresholds, grain_maps
from d2it.seeds import stream_seed
from d2it.training.checkpoints import Checkpoints
from d2it.training.curve import save_curve
from d2it.training.loop import MicroBatch, Run, Update, micro_batches, train
from d2it.weights import VGG16, locate
from stages.inputs import fingerprint
from stages.stage import Stage

SHOWN = 8


def build(stage: Stage) -> DynamicVAE:
    """A DVAE with initial weights; thresholds and the name of the training set are that set's."""
    p = stage.params
    torch.manual_seed(stream_seed(p.seed, "dvae", "weights"))
    model = DynamicVAE(
        DVAEConfig(
            channels=p.dvae.channels,
            multipliers=p.dvae.multipliers,
            res_blocks=p.dvae.res_blocks,
            latent_channels=p.dvae.latent_channels,
            regularizer=p.dvae.regularizer,
            codebook_size=p.dvae.codebook_size,
            factors=p.grain.factors,
        )
    )
    quantiles = np.load(stage.outputs / "prepare" / "entropy_quantiles.npy", allow_pickle=False)
    model.thresholds = entropy_thresholds(quantiles, p.grain.shares)
    model.data = fingerprint(stage.outputs)
    return model.to(stage.device).to(memory_format=torch.channels_last)


class Losses:
    """The two losses of a micro-batch; the discriminator's sees the reconstructions of the autoencoder's.

    With VQ they keep each step's codes, from which the codebook learns once a step, on all ranks the same.
    """

    def __init__(self, losses: DVAELoss, photos: Photos, run: Run) -> None:
        self.losses, self.photos, self.run = losses, photos, run
        self._pairs: dict[int, tuple[Tensor, Tensor]] = {}  # images and reconstructions by micro-batch
        self._codes: list[Tensor] = []  # VQ: (n_i, z) of this rank's micro-batches of the step

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and their grain maps (B, h, w)."""
        batch = self.photos.take(rows, self.run.device)
        maps = grain_maps(batch.entropy, self.losses.model.thresholds)
        return batch.images, torch.from_numpy(maps).to(self.run.device)

    def autoencoder(self, micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction, regulariser and, once it has started, the adversarial loss."""
        images, maps = self.batch(micro.rows)
        found = self.losses.autoencoder(images, maps, micro.generator, micro.images_seen)
        self._pairs[micro.number] = (images, found.reconstructions)
        if found.codes is not None:
            self._codes.append(found.codes)
        return found.loss, found.numbers

    def discriminator(self, micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Hinge loss on the pairs that the autoencoder's update left."""
        loss = self.losses.adversary(*self._pairs.pop(micro.number))
        return loss, {"discriminator_loss": loss}

    @torch.no_grad()
    def start_codebook(self) -> None:
        """k-means of the first step's codes, before anything meets the codebook; a checkpoint's takes its place."""
        model = self.losses.model
        for _, rows in micro_batches(self.run, 0):
            images, maps = self.batch(rows)
            self._codes.append(codes_once(model.encode(images, maps).mean, maps, model.copies))
        self.learn_codebook("start")

    def learn_codebook(self, step: int | str) -> None:
        """From the step's codes of all ranks, in the order of the micro-batches; named by its step for its seed."""
        quantizer = self.losses.model.quantizer
        assert quantizer is not None
        codes = torch.cat(self.run.ranks.gather(self._codes))
        self._codes.clear()
        quantizer.learn(codes, stream_seed(self.run.seed, "codebook", step))


def main(stage: Stage) -> dict[str, float]:
    """Writes weights.safetensors, config.json, curve.csv and reconstructions.png; returns PSNR in dB."""
    p, config = stage.params, stage.params.dvae
    model = build(stage)
    discriminator = PatchDiscriminator(config.discriminator_channels, config.discriminator_layers).to(stage.device)
    vgg = locate(VGG16, stage.weights) if config.perceptual_weight > 0 else None
    photos = Photos(stage.outputs / "prepare" / "train", p.data.flip)
    run = Run(
        config,
        photos.rows,
        stream_seed(p.seed, "dvae"),
        stage.device,
        Checkpoints(stage.scratch, describe(model)),
        stage.report,
        "train_dvae",
        ranks=stage.ranks,
    )
    losses = Losses(DVAELoss(config, model, discriminator, vgg), photos, run)
    rate = config.base_learning_rate * config.batch_size
    learn = losses.learn_codebook if model.quantizer is not None else None
    updates = [Update("autoencoder", model, _adam(model), rate, losses.autoencoder, after_step=learn)]
    if config.adversarial_weight > 0:
        adversary, start = _adam(discriminator), config.adversarial_start
        updates.append(Update("discriminator", discriminator, adversary, rate, losses.discriminator, start))
    if model.quantizer is not None:
        losses.start_codebook()
    curve = train(updates, run)
    if not stage.leads:
        return {}
    model.eval()
    model.latent_scale = latent_scale(model, photos, config.micro_batch)
    save_dvae(stage.out, model)
    save_curve(stage.out / "curve.csv", curve)
    _picture(stage, model)
    validation = Photos(stage.outputs / "prepare" / "validation", flip=False)
    psnr, mean_colour = reconstruction_psnr(model, validation, config.micro_batch, p.grain.region_size)
    print(f"validation PSNR {psnr:.2f} dB; each region replaced by its mean colour: {mean_colour:.2f} dB", flush=True)
    found = {"psnr": psnr, "psnr_mean_colour": mean_colour, "latent_scale": model.latent_scale}
    return found | {name: curve[-1][name] for name in ("perplexity", "dead_codes") if name in curve[-1]}


def _adam(model: torch.nn.Module) -> torch.optim.Adam:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, betas=(0.5, 0.9), fused=True)


@torch.no_grad()
def _picture(stage: Stage, model: DynamicVAE) -> None:
    """Photos, their grain maps and reconstructions, one above the other."""
    photos = Photos(stage.outputs / "prepare" / "validation", flip=False)
    rows = np.linspace(0, photos.photos - 1, min(SHOWN, photos.photos)).round().astype(np.int64)
    batch = photos.take(rows, stage.device)
    maps = grain_maps(batch.entropy, model.thresholds)
    scale = pictures.legible(batch.images.shape[-1])
    images = pictures.enlarge(to_uint8(batch.images), scale)
    reconstructed = to_uint8(model.reconstruct(batch.images, torch.from_numpy(maps).to(stage.device)))
    reconstructed = pictures.enlarge(reconstructed, scale)
    overlaid = pictures.overlay(images, maps, len(model.copies))
    picture = pictures.grid([images, overlaid, reconstructed], ["photo", "grain map", "reconstruction"])
    pictures.save_png(stage.out / "reconstructions.png", picture)
    stage.report(stage.params.dvae.images, {}, {"reconstructions": picture})
