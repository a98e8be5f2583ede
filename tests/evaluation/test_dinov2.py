from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from d2it.evaluation.dinov2 import DinoFeatures, _smaller_grid, load_dinov2
from d2it.weights import WeightsError

CPU = torch.device("cpu")


def published_shapes() -> dict[str, torch.Size]:
    """Names and shapes of the published file."""
    with torch.device("meta"):
        network = timm.create_model("vit_large_patch14_dinov2", pretrained=False)
    shapes = {name: x.shape for name, x in network.state_dict().items()}
    return shapes | {"pos_embed": torch.Size((1, 1370, 1024)), "mask_token": torch.Size((1, 1024))}


def class_token(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The published network written out: images (B, 3, 224, 224), normalised -> (B, 1024)."""

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (1024,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = functional.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=14)
    x = torch.cat([weights["cls_token"].expand(len(x), 1, 1024), x.flatten(2).mT], 1)
    grid = weights["pos_embed"][:, 1:].reshape(1, 37, 37, 1024).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    x = x + torch.cat([weights["pos_embed"][:, :1], grid.flatten(2).mT], 1)
    B, N, C = x.shape
    for i in range(24):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").reshape(B, N, 3, 16, 64).unbind(2)
        attention = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 8).softmax(-1)
        mixed = torch.einsum("bhnm,bmhd->bnhd", attention, v).reshape(B, N, C)
        x = x + linear(mixed, f"blocks.{i}.attn.proj") * weights[f"blocks.{i}.ls1.gamma"]
        hidden = functional.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(hidden, f"blocks.{i}.mlp.fc2") * weights[f"blocks.{i}.ls2.gamma"]
    return norm(x, "norm")[:, 0]


@pytest.mark.slow
def test_features_equal_the_published_network_written_out(tmp_path: Path, photos: NDArray[np.uint8]) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) * 0.03 for name, shape in published_shapes().items()}
    for name in [name for name in weights if name.endswith("gamma")]:
        weights[name] += 0.5
    torch.save(weights, tmp_path / "dinov2.pth")
    extractor = DinoFeatures(load_dinov2(tmp_path / "dinov2.pth"), "of a test", CPU)
    images = torch.from_numpy(photos[:2]).permute(0, 3, 1, 2).float()
    images = interpolate_bilinear_2d_like_tensorflow1x(images, size=(224, 224), align_corners=False) / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = class_token(weights, (images - mean[:, None, None]) / deviation[:, None, None])
    difference = float(np.linalg.norm(extractor(photos[:2]).pool - expected.numpy()) / expected.norm())
    print(f"\n| `dinov2` features | (2, 1024) | the published network, written out | {difference:.1e} |")
    assert difference < 1e-4
    assert float((expected[0] - expected[1]).norm()) > 100 * difference * float(expected.norm())


def test_the_position_embedding_is_read_where_the_published_code_reads_it() -> None:
    """Place i of 16 lies at (i + 0.5) 37 / 16.1 - 0.5 of 37: by up to 0.23 from where the factor 16 / 37 has it.

    A ramp shows it, which PyTorch's bicubic weights keep to within 0.05.
    """
    ramp = torch.arange(37.0)[:, None, None].expand(37, 37, 1024)  # along the height
    first = torch.full((1, 1, 1024), -7.0)
    smaller = _smaller_grid(torch.cat([first, ramp.reshape(1, 37 * 37, 1024)], 1))
    assert smaller.shape == (1, 257, 1024)
    assert (smaller[:, 0] == -7).all()
    rows = smaller[0, 1:, 0].reshape(16, 16)
    expected = (torch.arange(16) + 0.5) * 37 / 16.1 - 0.5
    torch.testing.assert_close(rows[1:-1], expected[1:-1, None].expand(14, 16), rtol=0, atol=0.05)


def test_weights_of_another_network_are_refused_with_the_tensors_name(tmp_path: Path) -> None:
    path = tmp_path / "dinov2.pth"
    torch.save({"cls_token": torch.zeros(1, 1, 768)}, path)
    with pytest.raises(WeightsError, match=r"cls_token: must be a tensor \(1, 1, 1024\), as in DINOv2's ViT-L/14"):
        load_dinov2(path)
    weights = {name: torch.zeros(()).expand(shape) for name, shape in published_shapes().items()}
    torch.save(weights | {"register_tokens": torch.zeros(1, 4, 1024)}, path)
    with pytest.raises(WeightsError, match="register_tokens: not in DINOv2's ViT-L/14 without registers"):
        load_dinov2(path)
