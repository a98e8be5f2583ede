"""Stage train_dvae: train the Dynamic VAE, measure its latent scale and its reconstructions."""

import logging
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.counting import size_numbers
from d2it.data.description import read_description
from d2it.data.photos import Photos, to_uint8
from d2it.dvae.discriminator import PatchDiscriminator, hinge_loss
from d2it.dvae.loss import adversarial_share, autoencoder_loss
from d2it.dvae.measure import latent_scale, reconstruction_psnr
from d2it.dvae.model import DynamicVAE, about, save_dvae
from d2it.dvae.perceptual import open_perceptual
from d2it.grain.codes import codes_once
from d2it.grain.thresholds import entropy_thresholds, grain_maps, reached_shares
from d2it.params.architecture import dvae_arguments
from d2it.saved import describe
from d2it.seeds import stream_seed, training_seeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.curve import save_curve
from d2it.training.loop import MicroBatch, TrainingRun, Update, micro_batches, train
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
    run = TrainingRun(
        params=p.dvae, rows=photos.rows, seeds=training_seeds(p.seed, p.seeds, "dvae"), device=device,
        checkpoints=Checkpoints(stage.scratch, describe(model) | about(model)), report=stage.report,
        label="train_dvae", ranks=stage.ranks,
    )  # fmt: skip
    losses = Losses(stage, model, discriminator, photos=photos, run=run, perceptual=perceptual)
    if model.quantizer is not None:
        losses.start_codebook()
    curve = train(losses.updates(), run)
    if not stage.main_rank:
        return {}
    model.eval()
    model.latent_scale = latent_scale(model, photos, p.dvae.micro_batch)
    save_dvae(stage.out, model)
    save_curve(stage.out / "curve.csv", curve)
    _picture(stage, model)
    last = {name: curve[-1][name] for name in ("perplexity", "dead_codes") if name in curve[-1]}
    return _measure(stage, model) | last | size_numbers(model, partial(_one_pass, image_size=p.data.image_size))


def _initial_model(stage: Stage) -> DynamicVAE:
    """A DVAE with initial weights; thresholds and fingerprint are the training set's."""
    p, prepare = stage.params, stage.outputs / "prepare"
    torch.manual_seed(training_seeds(p.seed, p.seeds, "dvae").weights)
    model = DynamicVAE(**dvae_arguments(p))
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


class Losses:
    """The two losses of a micro-batch; the discriminator's sees the reconstructions of the autoencoder's.

    With VQ they keep each step's codes, from which the codebook learns once per step, on all ranks the same.
    """

    def __init__(
        self, stage: Stage, model: DynamicVAE, discriminator: PatchDiscriminator, *, photos: Photos, run: TrainingRun,
        perceptual: torch.nn.Module | None,
    ) -> None:  # fmt: skip
        self.params, self.device = stage.params.dvae, stage.device
        self.model, self.discriminator, self.photos, self.run = model, discriminator, photos, run
        self.perceptual = perceptual
        self._pairs: dict[int, tuple[Tensor, Tensor]] = {}  # images and reconstructions by micro-batch
        self._codes: list[Tensor] = []  # VQ: (n_i, z) of this rank's micro-batches of the step

    def updates(self) -> list[Update]:
        """The autoencoder's and, if it is wanted, the discriminator's; LDM's learning rate grows with the batch."""
        p = self.params
        rate, learn = p.base_learning_rate * p.batch_size, None if self.model.quantizer is None else self.learn_codebook
        autoencoder = Update(
            name="autoencoder", model=self.model, optimizer=_adam(self.model), learning_rate=rate,
            loss=self.autoencoder, after_step=learn,
        )  # fmt: skip
        if p.adversarial_weight == 0:
            return [autoencoder]
        adversary = Update(
            name="discriminator", model=self.discriminator, optimizer=_adam(self.discriminator), learning_rate=rate,
            loss=self.discriminator_loss, starts_at=p.adversarial_start,
        )  # fmt: skip
        return [autoencoder, adversary]

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and their grain maps (B, h, w)."""
        batch = self.photos.take(rows, self.device)
        maps = grain_maps(batch.entropy, self.model.thresholds)
        return batch.images, torch.from_numpy(maps).to(self.device)

    def autoencoder(self, micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction, regulariser and, once it has started, the adversarial loss."""
        p, (images, maps) = self.params, self.batch(micro.rows)
        B, h, w = maps.shape
        shape = (B, self.model.latent_channels, h * self.model.copies[0], w * self.model.copies[0])
        losses = autoencoder_loss(
            self.model,
            images,
            maps,
            torch.randn(shape, generator=micro.generator, device=self.device),
            kl_weight=p.kl_weight,
            perceptual=self.perceptual,
            perceptual_weight=p.perceptual_weight,
            discriminator=self.discriminator,
            adversarial_weight=p.adversarial_weight
            * adversarial_share(micro.images_seen, p.adversarial_start, p.adversarial_warmup),
            adversarial_cap=p.adversarial_cap,
            perceptual_share=p.perceptual_share,
        )
        self._pairs[micro.number] = (images, losses.reconstructions)
        if losses.codes is not None:
            self._codes.append(losses.codes)
        return losses.loss, losses.numbers

    def discriminator_loss(self, micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Hinge loss on the pairs that the autoencoder's update left."""
        images, reconstructions = self._pairs.pop(micro.number)
        loss = hinge_loss(self.discriminator(images), self.discriminator(reconstructions))
        return loss, {"discriminator_loss": loss}

    @torch.no_grad()
    def start_codebook(self) -> None:
        """k-means of the first step's codes, before anything meets the codebook; a checkpoint's takes its place."""
        for _, rows in micro_batches(self.run, 0):
            images, maps = self.batch(rows)
            self._codes.append(codes_once(self.model.encode(images, maps).mean, maps, self.model.copies))
        self.learn_codebook("start")

    def learn_codebook(self, step: int | str) -> None:
        """From the step's codes of all ranks, in the order of the micro-batches; named by its step for its seed."""
        assert self.model.quantizer is not None
        codes = torch.cat(self.run.ranks.gather(self._codes))
        self._codes.clear()
        self.model.quantizer.learn(codes, stream_seed(self.run.seeds.noise, "codebook", step))


def _adam(model: torch.nn.Module) -> torch.optim.Adam:
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.Adam(trainable, betas=(0.5, 0.9), fused=True)


def _one_pass(model: DynamicVAE, image_size: int) -> Tensor:
    side = image_size // model.factors[0]
    model.encoder(torch.empty(1, 3, image_size, image_size))
    images: Tensor = model.decoder(torch.empty(1, model.latent_channels, side, side))
    return images


def _measure(stage: Stage, model: DynamicVAE) -> dict[str, float]:
    validation = Photos(stage.outputs / "prepare" / "validation", flip=False)
    micro_batch, region_size = stage.params.dvae.micro_batch, stage.params.grain.region_size
    psnr, mean_colour = reconstruction_psnr(model, validation, micro_batch, region_size)
    print(f"validation PSNR {psnr:.2f} dB; each region replaced by its mean colour: {mean_colour:.2f} dB", flush=True)
    return {"psnr": psnr, "psnr_mean_colour": mean_colour, "latent_scale": model.latent_scale}


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
    picture = pictures.grid([images, overlaid, reconstructed], ["image", "grain map", "reconstruction"])
    pictures.save_png(stage.out / "reconstructions.png", picture)
    stage.report(stage.params.dvae.images, {}, {"reconstructions": picture})
