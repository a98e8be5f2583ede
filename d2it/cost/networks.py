"""Networks of others without their weights: what they cost, and how fast they are, does not depend on those."""

import warnings
from functools import cache

import torch
from torch import Tensor, nn

from d2it.counting import META, multiply_adds
from d2it.dvae.perceptual import EfficientNetBlocks, PerceptualLoss, ShiftTolerantVGG, fold_norms
from d2it.params.combinations import SMALLEST
from d2it.size import Size

# G multiply-adds of `fid.extractor` on one image, which it makes 299, 224 and 224 pixels wide; a test counts them
EXTRACTOR = {"inception": 5.713, "efficientnet_lite0": 0.384, "dinov2": 81.01}


def perceptual_network(name: str) -> nn.Module:
    """Of `dvae.perceptual`, with weights of no meaning: images (B, 3, H, W) to features at several depths."""
    if name == "st_lpips":
        return ShiftTolerantVGG()
    if name == "lpips":
        import lpips  # its import takes seconds, which only this network should pay

        with warnings.catch_warnings():  # of torchvision, how lpips asks for a network without weights
            warnings.simplefilter("ignore")
            network: nn.Module = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).net
        return network
    import timm  # likewise

    blocks = EfficientNetBlocks(timm.create_model("tf_efficientnet_lite0", pretrained=False).eval())
    fold_norms(blocks)
    return blocks


@cache
def perceptual_cost(name: str, size: Size) -> int:
    """Multiply-adds of its network on one image of `size` pixels."""
    with META:
        network = perceptual_network(name)
    return multiply_adds(lambda: network(torch.empty(1, 3, *size)))


def untrained_perceptual(name: str, size: Size) -> PerceptualLoss:
    """The loss on images of `size` pixels: as fast as the real one, and of no meaning."""
    network = perceptual_network(name)
    with torch.no_grad():
        features: list[Tensor] = network(torch.zeros(1, 3, *size))
    heads = [torch.ones(x.shape[1]) for x in features]
    return PerceptualLoss(network, heads, shift=torch.zeros(3), scale=torch.ones(3), smallest=SMALLEST[name])
