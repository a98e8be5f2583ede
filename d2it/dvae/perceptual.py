"""LPIPS with VGG16, from local weights."""

from pathlib import Path

import torch
from torch import Tensor, nn


class PerceptualLoss(nn.Module):
    """LPIPS(VGG) of the `lpips` package, (B, 3, H, W) in [-1, 1] twice -> (B,).

    Computed in float32 also under autocast. A small number under the root keeps the gradient finite where features
    are zero, as for constant images, on which the package's own normalisation gives NaN.
    """

    def __init__(self, vgg_weights: Path) -> None:
        """`vgg_weights`: torchvision's vgg16-397923af.pth."""
        import lpips  # its import takes seconds, which only this loss should pay

        super().__init__()
        self.lpips = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)  # the calibrated linear layers are packaged
        state = torch.load(vgg_weights, map_location="cpu", weights_only=True)
        features = {name.removeprefix("features."): value for name, value in state.items() if "features." in name}
        for i in range(1, 6):
            part = getattr(self.lpips.net, f"slice{i}")
            part.load_state_dict({name: features[name] for name in part.state_dict()})
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            scaled = [self.lpips.scaling_layer(x.float()) for x in (images, others)]
            features, other_features = (self.lpips.net(x) for x in scaled)
            distance = torch.zeros(len(images), device=images.device)
            for linear, a, b in zip(self.lpips.lins, features, other_features, strict=True):
                distance = distance + linear((_normalize(a) - _normalize(b)) ** 2).mean((1, 2, 3))
        return distance


def _normalize(features: Tensor) -> Tensor:
    return features * torch.rsqrt((features**2).sum(1, keepdim=True) + 1e-10)
