"""Losses of the DVAE: L1 + LPIPS + adversarial + regulariser (paper section 3.1; LDM's weights and manners)."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from d2it.dvae.discriminator import PatchDiscriminator, adaptive_weight, hinge_loss
from d2it.dvae.model import DynamicVAE, kl_divergence
from d2it.dvae.perceptual import PerceptualLoss
from d2it.grain.codes import codes_once, copy_codes
from d2it.params import DVAE


class AutoencoderLoss(NamedTuple):
    """The loss to lower, numbers for the curves, and, detached, the reconstructions (B, 3, H, W) and the codes.

    Codes are (n, z), each once, with VQ: what the codebook learns from; None with KL.
    """

    loss: Tensor
    numbers: dict[str, Tensor]
    reconstructions: Tensor
    codes: Tensor | None


class DVAELoss:
    """The autoencoder's and the discriminator's loss on a batch.

    All terms are means over an image's H·W·3 values where LDM's are sums: the same up to one factor of the whole.
    """

    def __init__(
        self, config: DVAE, model: DynamicVAE, discriminator: PatchDiscriminator, vgg_weights: Path | None
    ) -> None:
        """`vgg_weights`: needed when config.perceptual_weight > 0."""
        self.config, self.model, self.discriminator = config, model, discriminator
        device = next(model.parameters()).device
        self.perceptual = PerceptualLoss(vgg_weights).to(device) if vgg_weights is not None else None

    def adversarial_share(self, images_seen: int) -> float:
        """0 before config.adversarial_start, then linearly up to 1 over config.adversarial_warmup images."""
        if self.config.adversarial_weight == 0 or images_seen < self.config.adversarial_start:
            return 0.0
        since = images_seen - self.config.adversarial_start
        return min(1.0, (since + 1) / max(1, self.config.adversarial_warmup))

    def autoencoder(
        self, images: Tensor, grain_map: Tensor, generator: torch.Generator, images_seen: int
    ) -> AutoencoderLoss:
        """images (B, 3, H, W) in [-1, 1]; `generator` draws the posterior's noise, one draw a code."""
        model = self.model
        posterior = model.encode(images, grain_map)
        noise = torch.randn(posterior.mean.shape, generator=generator, device=images.device)
        latents = posterior.sample(copy_codes(noise, grain_map, model.copies))
        numbers: dict[str, Tensor] = {}
        codes = None
        if model.quantizer is not None:
            codes = codes_once(latents.detach(), grain_map, model.copies)
            latents, regularization, numbers = model.quantize(latents, grain_map)
        else:
            kl = kl_divergence(posterior, grain_map, model.copies).mean()
            regularization = self.config.kl_weight * kl / images[0].numel()
            numbers["kl"] = kl.detach()
        reconstructions = model.decoder(latents).float()
        l1 = (images - reconstructions).abs().mean()
        reconstruction = l1
        if self.perceptual is not None:
            perceptual = self.perceptual(images, reconstructions).mean()
            reconstruction = l1 + self.config.perceptual_weight * perceptual
            numbers["lpips"] = perceptual.detach()
        loss = reconstruction + regularization
        share = self.adversarial_share(images_seen)
        if share > 0:
            adversarial = -self.discriminator(reconstructions).mean()
            weight = adaptive_weight(reconstruction, adversarial, model.decoder.conv_out.weight)
            loss = loss + self.config.adversarial_weight * share * weight * adversarial
            numbers |= {"adversarial": adversarial.detach(), "adaptive_weight": weight}
        numbers |= {"l1": l1.detach(), "mse": ((images - reconstructions.detach()) ** 2).mean()}
        return AutoencoderLoss(loss, numbers, reconstructions.detach(), codes)

    def adversary(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """The discriminator's hinge loss on real images and detached reconstructions."""
        return hinge_loss(self.discriminator(images), self.discriminator(reconstructions))
