"""Losses of the DVAE: L1 + perceptual + adversarial + regulariser (paper section 3.1)."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from d2it.dvae.discriminator import adversarial_loss, last_layer_gradients
from d2it.dvae.model import DynamicVAE, commitment, kl_divergence
from d2it.grain.codes import codes_once, copy_codes

COMMITMENT = 0.25  # weight of VQ's commitment loss, as in VQGAN


class AutoencoderLoss(NamedTuple):
    """The loss to lower, a mean over images; numbers for the curves; and, detached, what is needed afterwards."""

    loss: Tensor
    numbers: dict[str, Tensor]
    reconstructions: Tensor  # (B, 3, H, W)
    codes: Tensor | None  # (n, z), each once, with VQ: what the codebook learns from
    gradients: Tensor | None  # with a discriminator: what the adaptive weight is the ratio of


def autoencoder_loss(
    model: DynamicVAE, images: Tensor, grain_map: Tensor, noise: Tensor, *, kl_weight: float = 1e-6,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None, perceptual_weight: float = 1.0,
    discriminator: Callable[[Tensor], Tensor] | None = None, adversarial_weight: float | Tensor = 0.0,
) -> AutoencoderLoss:  # fmt: skip
    """The autoencoder's loss on a batch; the discriminator's is `discriminator.hinge_loss`.

    All terms are means over an image's N = H·W·3 values, as in DQ-VAE, the authors' earlier code; LDM's are sums. L1,
    perceptual and KL terms are LDM's divided by N; so is the adversarial one, but for the cap of its adaptive weight:
    LDM's 1e4 would be 1e4 / N here, 0.05 at 256 x 256, as a rule less than the ratio of gradients, and so the weight
    itself. DQ-VAE has a factor of 1 and a cap of 0.75. The paper gives one number, 0.75, and not which of the two it
    is; our reading is the cap.

    Args:
        model: in training mode.
        images: (B, 3, H, W) in [-1, 1].
        grain_map: (B, H/S, W/S).
        noise: the posterior's, N(0, I) of the latents' shape (B, z, H/f_1, W/f_1); one draw per code is used.
        kl_weight: with KL.
        perceptual: mean distance of images and reconstructions; None for none.
        perceptual_weight: of that distance.
        discriminator: logits of images; None until it has joined.
        adversarial_weight: of its loss; the adaptive weight is a factor of it, of the step before (our reading: its
            own step's is known only when all micro-batches of all ranks are done).
    """
    posterior = model.encode(images, grain_map)
    latents = posterior.sample(copy_codes(noise, grain_map, model.copies))
    numbers: dict[str, Tensor] = {}
    codes = gradients = None
    if model.quantizer is not None:
        codes = codes_once(latents.detach(), grain_map, model.copies)
        quantized = model.quantize(latents, grain_map)
        regularization = COMMITMENT * commitment(latents, quantized, grain_map, model.copies).mean()
        latents = quantized
    else:
        kl = kl_divergence(posterior, grain_map, model.copies).mean()
        regularization = kl_weight * kl / images[0].numel()
        numbers["kl"] = kl.detach()
    reconstructions = model.decoder(latents).float()
    l1 = (images - reconstructions).abs().mean()
    reconstruction = l1
    if perceptual is not None:
        distance = perceptual(images, reconstructions)
        reconstruction = l1 + perceptual_weight * distance
        numbers["perceptual"] = distance.detach()
    loss = reconstruction + regularization
    if discriminator is not None:
        adversarial = adversarial_loss(discriminator, reconstructions)
        gradients = last_layer_gradients(reconstruction, adversarial, model.decoder.conv_out.weight)
        loss = loss + adversarial_weight * adversarial
        numbers["adversarial"] = adversarial.detach()
    numbers |= {"l1": l1.detach(), "mse": ((images - reconstructions.detach()) ** 2).mean()}
    return AutoencoderLoss(loss, numbers, reconstructions.detach(), codes, gradients)


def adversarial_share(images_seen: int, start: int, warmup: int) -> float:
    """0 before `start` images, then linearly up to 1 over `warmup` images."""
    return min(1.0, (images_seen - start + 1) / max(1, warmup)) if images_seen >= start else 0.0
