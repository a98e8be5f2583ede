"""PatchGAN discriminator and its losses, as LDM trains with them (paper section 3.1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    # Without running statistics there is no buffer for data-parallel training to broadcast between two forward
    # passes, on which autograd fails; the discriminator is never used in evaluation mode.
    return nn.BatchNorm2d(channels, track_running_stats=False)


class PatchDiscriminator(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] -> one logit per patch, (B, 1, h, w); float32, also under autocast."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = channels
        for i in range(1, layers + 1):
            after = channels * min(2**i, 8)
            stride = 2 if i < layers else 1
            parts += [nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False), _batch_norm(after)]
            parts += [nn.LeakyReLU(0.2)]
            before = after
        parts.append(nn.Conv2d(before, 1, 4, padding=1))
        self.layers = nn.Sequential(*parts)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.layers(images.float())
        return logits


def hinge_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, 0.5 (E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))])."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())


def adaptive_weight(reconstruction_loss: Tensor, adversarial_loss: Tensor, last_layer: Tensor, cap: float) -> Tensor:
    """|∇ reconstruction| / |∇ adversarial| at the decoder's last layer, at most `cap`, without gradient (VQGAN).

    `cap` is in the units of the two losses: LDM sums the reconstruction over an image's N = H·W·3 values, of which ours
    is the mean, so its 1e4 is our 1e4 / N, 0.05 at 256 x 256.
    """
    reconstruction = torch.autograd.grad(reconstruction_loss, last_layer, retain_graph=True)[0]
    adversarial = torch.autograd.grad(adversarial_loss, last_layer, retain_graph=True)[0]
    weight: Tensor = reconstruction.float().norm() / (adversarial.float().norm() + 1e-4)
    return weight.clamp(0, cap).detach()
