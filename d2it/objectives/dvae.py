"""Training of the Dynamic VAE: the losses of autoencoder and discriminator, and what they read."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from d2it.data.photos import Photos, to_float
from d2it.dvae.discriminator import PatchDiscriminator, adaptive_weight, hinge_loss
from d2it.dvae.loss import adversarial_share, autoencoder_loss
from d2it.dvae.model import DynamicVAE
from d2it.dvae.perceptual import PerceptualLoss, share_seen
from d2it.grain.codes import codes_once
from d2it.grain.thresholds import grain_maps
from d2it.params.sections import DVAEParams
from d2it.seeds import stream_seed
from d2it.training.adam import Adam
from d2it.training.run import MicroBatch, TrainingRun, Update


class DVAEData(NamedTuple):
    """A micro-batch as it is read ahead of time, on the CPU, pinned where a GPU fetches it."""

    pixels: Tensor  # (B, H, W, 3) uint8
    grain_map: Tensor  # (B, h, w) uint8
    noise: Tensor  # (B, z, h', w') of the posterior, before it is copied
    perceived: Tensor  # (n,) images that the perceptual loss sees, int64


class DVAETraining:
    """The two losses of a micro-batch, and what they read; the discriminator's sees the autoencoder's reconstructions.

    What a step's loss needs of all its images on all ranks is gathered after the step, for the next: VQ's codes, from
    which the codebook learns, and the gradients of the adaptive weight.
    """

    def __init__(
        self, model: DynamicVAE, discriminator: PatchDiscriminator, params: DVAEParams, *, photos: Photos,
        run: TrainingRun, perceptual: PerceptualLoss | None,
    ) -> None:  # fmt: skip
        """All of them on the run's device; `perceptual`: None for none."""
        self.model, self.discriminator, self.params, self.photos, self.run = model, discriminator, params, photos, run
        self.perceptual, self.device = perceptual, run.device
        self._perceived = share_seen(self.params.batch_size, self.params.perceptual_share)
        self._noise = (model.latent_channels, *photos.region_grid.times(model.copies[0]))
        self._pairs: dict[int, tuple[Tensor, Tensor]] = {}  # images and reconstructions by the first image's place
        self._codes: list[Tensor] = []  # VQ: (n_i, z) of this rank's micro-batches of the step
        self._gradients: list[Tensor] = []  # of this rank's micro-batches of the step, each with its share of them

    def updates(self) -> list[Update]:
        """The autoencoder's and, if it is wanted, the discriminator's; LDM's learning rate grows with the batch."""
        p = self.params
        rate = p.base_learning_rate * p.batch_size
        autoencoder = Update(
            name="autoencoder", model=self.model, optimizer=_adam(self.model), learning_rate=rate,
            loss=self.autoencoder, read=self.read, after_step=self.after_step,
        )  # fmt: skip
        if p.adversarial_weight == 0:
            return [autoencoder]
        adversary = Update(
            name="discriminator", model=self.discriminator, optimizer=_adam(self.discriminator), learning_rate=rate,
            loss=self.discriminator_loss, starts_at=p.adversarial_start,
        )  # fmt: skip
        return [autoencoder, adversary]

    def read(self, micro: MicroBatch) -> DVAEData:
        """Pixels, grain maps and noise; in other threads."""
        pixels, entropy, _ = self.photos.read(micro.rows)
        maps = torch.from_numpy(grain_maps(entropy, self.model.thresholds))
        perceived = torch.from_numpy(np.flatnonzero(self._perceived[micro.places]))
        data = DVAEData(torch.from_numpy(pixels), maps, micro.streams().normal(self._noise), perceived)
        return DVAEData(*(x.pin_memory() for x in data)) if self.device.type == "cuda" else data

    def autoencoder(self, micro: MicroBatch, data: DVAEData) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction, regulariser and, once it has started, the adversarial loss."""
        p = self.params
        pixels, maps, noise, perceived = (x.to(self.device, non_blocking=True) for x in data)
        joined = adversarial_share(micro.images_seen, p.adversarial_start, p.adversarial_warmup)
        adversarial = p.adversarial_weight > 0 and joined > 0
        images = to_float(pixels)
        self.discriminator.requires_grad_(False)  # it learns in its own update
        losses = autoencoder_loss(
            self.model, images, maps, noise, kl_weight=p.kl_weight,
            perceptual=None if self.perceptual is None else self._distance(perceived, micro),
            perceptual_weight=p.perceptual_weight, discriminator=self.discriminator if adversarial else None,
            adversarial_weight=p.adversarial_weight * joined * self.discriminator.adaptive_weight,
        )  # fmt: skip
        self.discriminator.requires_grad_(True)
        if losses.codes is not None:
            self._codes.append(losses.codes)
        if losses.gradients is not None:
            self._pairs[int(micro.places[0])] = images, losses.reconstructions
            self._gradients.append(losses.gradients * (len(images) / micro.batch_size))
        return losses.loss, losses.numbers

    def discriminator_loss(self, micro: MicroBatch, _: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Hinge loss on the pairs that the autoencoder's update left."""
        images, reconstructions = self._pairs.pop(int(micro.places[0]))
        loss = hinge_loss(self.discriminator(images), self.discriminator(reconstructions))
        return loss, {"discriminator_loss": loss}

    def _distance(self, perceived: Tensor, micro: MicroBatch) -> Callable[[Tensor, Tensor], Tensor]:
        """Perceptual distance of a micro-batch, weighted so that its mean over the step is that of what it sees."""
        perceptual = self.perceptual
        assert perceptual is not None

        def distance(images: Tensor, reconstructions: Tensor) -> Tensor:
            if not len(perceived):
                return images.new_zeros(())
            total: Tensor = perceptual(images[perceived], reconstructions[perceived]).sum()
            return total * (micro.batch_size / (len(images) * int(self._perceived.sum())))

        return distance

    def after_step(self, step: int) -> dict[str, Tensor]:
        """The codebook and the adaptive weight of the next step."""
        numbers = {} if self.model.quantizer is None else self.learn_codebook(step)
        if self._gradients:
            gradients = self.run.ranks.sum(torch.stack(self._gradients).sum(0))
            self._gradients.clear()
            self.discriminator.adaptive_weight.copy_(adaptive_weight(gradients, self.params.adversarial_cap))
            numbers["adaptive_weight"] = self.discriminator.adaptive_weight.clone()
        return numbers

    @torch.no_grad()
    def start_codebook(self) -> None:
        """k-means of the first step's codes, before anything meets the codebook; a checkpoint's takes its place."""
        for micro in self.run.micro_batches(0, "autoencoder"):
            pixels, maps, *_ = (x.to(self.device) for x in self.read(micro))
            self._codes.append(codes_once(self.model.encode(to_float(pixels), maps).mean, maps, self.model.copies))
        self.learn_codebook("start")

    def learn_codebook(self, step: int | str) -> dict[str, Tensor]:
        """From the step's codes of all ranks, in the order of the images; named by its step for its seed."""
        assert self.model.quantizer is not None
        codes = self.run.ranks.gather(torch.cat(self._codes))
        self._codes.clear()
        return self.model.quantizer.learn(codes, stream_seed(self.run.seeds.noise, "codebook", step))


def _adam(model: torch.nn.Module) -> Adam:
    trainable = [p for p in model.parameters() if p.requires_grad]
    return Adam(trainable, betas=(0.5, 0.9))
