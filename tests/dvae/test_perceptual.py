"""Perceptual losses against the published networks, on local and installed files."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import lpips
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2it.dvae.perceptual import ImageSizeError, PerceptualLoss, lpips_vgg, open_perceptual
from d2it.networks import efficientnet_lite0
from d2it.params.combinations import SMALLEST
from d2it.weights import EFFICIENTNET_LITE0, WeightsError, installed
from tests.dvae.test_model import photos

LOSSES = pytest.mark.parametrize("name", ["lpips", "st_lpips", "efficientnet_lite0"])
PUBLISHED = pytest.mark.parametrize("name", ["lpips", "st_lpips"])


@pytest.fixture(scope="module")
def published() -> dict[str, nn.Module]:
    """The packages' own: LPIPS on random numbers, ST-LPIPS as it is installed."""
    torch.manual_seed(0)
    networks = {"lpips": lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)}
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (("IPython", "embed"), ("torchsummary", "summary")):  # it imports them, and needs neither
            patch.setitem(sys.modules, module, ModuleType(module))
            setattr(sys.modules[module], name, None)
        from stlpips_pytorch import stlpips

        networks["st_lpips"] = stlpips.LPIPS(net="vgg", variant="shift_tolerant", verbose=False)
    return networks


@pytest.fixture(scope="module")
def losses(published: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> dict[str, PerceptualLoss]:
    """Ours, from files: LPIPS's has the names of torchvision's."""
    slices = published["lpips"].net.state_dict()
    path = tmp_path_factory.mktemp("weights") / "vgg.pth"
    torch.save({f"features.{name.partition('.')[2]}": value for name, value in slices.items()}, path)
    packaged = {name: open_perceptual(name, Path("nowhere")) for name in ("st_lpips", "efficientnet_lite0")}
    return {"lpips": lpips_vgg(path), **packaged}


@pytest.mark.slow
@PUBLISHED
@pytest.mark.parametrize("size", [(64, 64), (32, 32), (18, 18), (19, 37)])
def test_distances_and_their_gradients_are_the_published_networks(
    losses: dict[str, PerceptualLoss], published: dict[str, nn.Module], name: str, size: tuple[int, int]
) -> None:
    def distance_and_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        others = pictures(size).flip(3).requires_grad_()
        distance = loss(pictures(size), others).flatten()
        distance.sum().backward()
        assert others.grad is not None
        return distance.detach(), others.grad

    (ours, gradient), (theirs, other) = map(distance_and_gradient, (losses[name], published[name]))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    # Rounding moves a few values over a kink, as in the package itself with its channels last (0.006 of LPIPS's norm).
    assert float((gradient - other).norm() / other.norm()) < 0.02


@LOSSES
def test_equal_images_have_no_distance_and_others_have_one(losses: dict[str, PerceptualLoss], name: str) -> None:
    a = pictures((32, 32))
    assert losses[name](a, a).abs().max() == 0
    assert losses[name](a, a.flip(3)).min() > 0


@LOSSES
def test_images_of_a_batch_are_measured_alone(losses: dict[str, PerceptualLoss], name: str) -> None:
    a, b = pictures((32, 32)), pictures((32, 32)).flip(3)
    alone = torch.cat([losses[name](a[i : i + 1], b[i : i + 1]) for i in range(len(a))])
    torch.testing.assert_close(losses[name](a, b), alone, rtol=1e-5, atol=1e-7)


@LOSSES
def test_gradients_are_finite_on_constant_images(losses: dict[str, PerceptualLoss], name: str) -> None:
    for level in (-1.0, 0.0, 1.0):
        images = torch.full((1, 3, 32, 32), level, requires_grad=True)
        losses[name](images, torch.full((1, 3, 32, 32), level)).sum().backward()
        assert images.grad is not None
        assert bool(images.grad.isfinite().all())


@LOSSES
def test_it_is_float32_under_autocast(losses: dict[str, PerceptualLoss], name: str) -> None:
    a, b = pictures((32, 32)).bfloat16(), pictures((32, 32)).flip(3)
    with torch.autocast("cpu", torch.bfloat16):
        under: Tensor = losses[name](a, b)
    torch.testing.assert_close(under, losses[name](a.float(), b))
    assert under.dtype == torch.float32


@LOSSES
def test_its_own_weights_are_fixed_whatever_the_mode_of_training(losses: dict[str, PerceptualLoss], name: str) -> None:
    assert not any(parameter.requires_grad for parameter in losses[name].parameters())
    assert not any(module.training for module in losses[name].train().modules())


def test_efficientnets_distance_is_two_minus_two_cosines_of_its_features(losses: dict[str, PerceptualLoss]) -> None:
    network = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(0, 1, 2, 3)).eval()
    trained = efficientnet_lite0(installed(EFFICIENTNET_LITE0)).state_dict()
    network.load_state_dict({name: trained[name.replace("blocks_", "blocks.")] for name in network.state_dict()})
    a, b = pictures((64, 64)), pictures((64, 64)).flip(3)
    with torch.no_grad():
        features = [network(((x + 1) / 2 * 255 - 127) / 128) for x in (a, b)]
    cosines = [F.cosine_similarity(x, y).mean((1, 2)) for x, y in zip(*features, strict=True)]
    expected = torch.stack([2 - 2 * cosine for cosine in cosines]).mean(0)
    torch.testing.assert_close(losses["efficientnet_lite0"](a, b), expected, rtol=1e-4, atol=1e-6)


@LOSSES
def test_too_small_images_are_refused_in_one_line(losses: dict[str, PerceptualLoss], name: str) -> None:
    smallest = SMALLEST[name]  # what params.yaml is checked by
    images = torch.zeros(1, 3, 64, smallest)
    assert losses[name](images, images).shape == (1,)
    with pytest.raises(ImageSizeError, match=f"images of 64 x {smallest - 1}: .* {smallest} pixels"):
        losses[name](images[..., 1:], images[..., 1:])


def test_opening_draws_nothing_from_the_global_stream() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    open_perceptual("st_lpips", Path("nowhere"))
    assert torch.equal(torch.rand(1), expected)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"vgg16-397923af\.pth: no such file"):
        open_perceptual("lpips", tmp_path)


def pictures(size: tuple[int, int]) -> Tensor:
    """Two photos (2, 3, H, W) in [-1, 1]."""
    return photos(2, 64)[:, :, : size[0], : size[1]]
