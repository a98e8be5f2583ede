"""PatchGAN discriminator and its losses, as LDM trains with them (paper section 3.1)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2it.dvae.blocks import normalize


class PatchDiscriminator(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] -> one logit per patch, (B, 1, h, w); float32, also under autocast.

    Our reading: GroupNorm where LDM has BatchNorm, under which an image's logits, and so the result, would depend on
    the images beside it, on micro-batches and on ranks.
    """

    adaptive_weight: Tensor

    def __init__(self, channels: int, layers: int) -> None:
        """`channels`: of the first layer; `layers`: strided ones after the first."""
        super().__init__()
        self.register_buffer("adaptive_weight", torch.zeros(()))  # of its loss in the next step; 0 in its first
        parts: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = channels
        for i in range(1, layers + 1):
            after = channels * min(2**i, 8)
            stride = 2 if i < layers else 1
            parts += [nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False), normalize(after)]
            parts += [nn.LeakyReLU(0.2)]
            before = after
        parts.append(nn.Conv2d(before, 1, 4, padding=1))
        self.layers = nn.Sequential(*parts)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, nn.GroupNorm):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.layers(images.float())
        return logits


def hinge_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, 0.5 (E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))])."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())


def adversarial_loss(discriminator: Callable[[Tensor], Tensor], reconstructions: Tensor) -> Tensor:
    """The autoencoder's, -E[D(reconstruction)]; the discriminator gets no gradient."""
    return -discriminator(reconstructions).mean()


def last_layer_gradients(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Gradients of both losses at the decoder's last layer, (2, *last_layer.shape) float32: means over images, as the
    losses are, so that those of micro-batches and ranks can be averaged."""
    gradients = [torch.autograd.grad(loss, last_layer, retain_graph=True)[0] for loss in (reconstruction, adversarial)]
    return torch.stack(gradients).float()


def adaptive_weight(gradients: Tensor, cap: float) -> Tensor:
    """|∇ reconstruction| / |∇ adversarial| at the decoder's last layer, at most `cap` (VQGAN).

    `cap` is in the units of the two losses: LDM sums the reconstruction over an image's N = H·W·3 values, of which ours
    is the mean, so its 1e4 is our 1e4 / N, 0.05 at 256 x 256.

    Args:
        gradients: as of `last_layer_gradients`, of all images of a step.
        cap: the largest weight.
    """
    reconstruction, adversarial = gradients.flatten(1).norm(dim=1)
    weight: Tensor = reconstruction / (adversarial + 1e-4)
    return weight.clamp(0, cap)
