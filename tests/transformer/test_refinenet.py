"""The packed RefineNet equals a plain dense computation with a mask, and costs nothing without fine regions."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from d2it.size import Size
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.dit import AdaLNZeroBlock, modulate
from d2it.transformer.routing import DenseTokens, pack_windows
from tests.transformer.models import content_transformer

SIDE = 8  # finest positions along a side


def dense_block(block: AdaLNZeroBlock, x: Tensor, condition: Tensor, sees: Tensor) -> Tensor:
    """A block on all positions (B, N, C), attention masked by sees (B, N, N)."""
    shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation(F.silu(condition))[:, None].chunk(6, -1)
    B, N, C = x.shape
    heads = block.attention.heads
    h = modulate(block.norm1(x), shift1, scale1)
    q, k, v = block.attention.qkv(h).view(B, N, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
    scores = (q @ k.transpose(-1, -2)) / (C // heads) ** 0.5
    scores = scores.masked_fill(~sees[:, None], -torch.inf)
    h = (scores.softmax(-1).nan_to_num(0) @ v).transpose(1, 2).reshape(B, N, C)
    x = x + gate1 * block.attention.proj(h)
    return x + gate2 * block.mlp(modulate(block.norm2(x), shift2, scale2))


def dense_refinenet(
    model: DynamicContentTransformer, z: Tensor, tokens: Tensor, fine: Tensor, condition: Tensor
) -> Tensor:
    """All positions, masked: tokens (B, N/4, C) of the backbone -> (B, channels_out, h, w)."""
    net, window, (h, w) = model.refinenets[0], model.windows[0], z.shape[-2:]
    B, _, C = tokens.shape
    expanded = net.expand(tokens).view(B, h // 2, w // 2, 2, 2, C).transpose(2, 3).reshape(B, h * w, C)
    embedded = net.embed(z.flatten(2).transpose(1, 2))
    x = net.join(torch.cat([expanded, embedded], -1)) + net.position
    chosen = fine.repeat_interleave(2, 1).repeat_interleave(2, 2)  # (B, h, w)
    if model.all_tokens:
        chosen = torch.ones_like(chosen)
    row, column = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    number = (row // window.height * w + column // window.width).flatten()
    sees = (number[:, None] == number[None]) & chosen.flatten(1)[:, None, :]
    for block in net.blocks:
        x = dense_block(block, x, condition, sees)
    shift, scale = net.head.modulation(F.silu(condition))[:, None].chunk(2, -1)
    out = net.head.linear(modulate(net.head.norm(x), shift, scale))
    return out.transpose(1, 2).reshape(B, -1, h, w)


def dense_forward(model: DynamicContentTransformer, z: Tensor, t: Tensor, y: Tensor, grain_map: Tensor) -> Tensor:
    condition = model.condition(t, y)
    tokens = model.backbone(z, condition)
    coarse = model.head(tokens, condition, DenseTokens())  # (B, N, 2z)
    coarse = coarse.transpose(1, 2).reshape(len(z), -1, *grain_map.shape[1:])
    coarse = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine = dense_refinenet(model, z, tokens, grain_map == 1, condition)
    chosen = grain_map.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None] == 1
    return torch.where(chosen, fine, coarse)


def uneven_maps(seed: int, h: int = 4, w: int = 4) -> Tensor:
    """All coarse, all fine, and random maps with ratios in between: (6, h, w)."""
    g = torch.Generator().manual_seed(seed)
    ratios = torch.tensor([0.0, 1.0, 0.1, 0.5, 0.9, 0.03])
    return (torch.rand(6, h, w, generator=g) < ratios[:, None, None]).to(torch.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), window=st.sampled_from([2, 4, 8, "full"]), tokens=st.sampled_from(["fine", "all"]))
def test_packed_equals_dense_with_a_mask(seed: int, window: int | str, tokens: str) -> None:
    model = content_transformer(window=window, tokens=tokens, seed=seed)
    grain_map = uneven_maps(seed)
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(6, 4, SIDE, SIDE, generator=g)
    t, y = torch.randint(0, 1000, (6,), generator=g), torch.randint(0, 4, (6,), generator=g)
    with torch.no_grad():
        torch.testing.assert_close(
            model(z, t, y, grain_map), dense_forward(model, z, t, y, grain_map), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("window", [2, 4, 8, 16, "full"])
@pytest.mark.parametrize("tokens", ["fine", "all"])
def test_every_window_of_the_paper_equals_dense_on_its_own_grid(window: int | str, tokens: str) -> None:
    """32 x 32 finest codes, as at 256 pixels: window 16 is a quarter of the image."""
    model = content_transformer(refinenet_layers=1, window=window, tokens=tokens, latent_grid=32)
    g = torch.Generator().manual_seed(0)
    grain_map = (torch.rand(2, 16, 16, generator=g) < torch.tensor([0.5, 0.05])[:, None, None]).to(torch.uint8)
    z, t, y = torch.randn(2, 4, 32, 32, generator=g), torch.tensor([5, 900]), torch.tensor([0, 1])
    with torch.no_grad():
        torch.testing.assert_close(
            model(z, t, y, grain_map), dense_forward(model, z, t, y, grain_map), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("grid", [Size(8, 12), Size(12, 8), Size(4, 20)])
@pytest.mark.parametrize("window", [2, 4, "full"])
@pytest.mark.parametrize("tokens", ["fine", "all"])
def test_on_a_grid_that_is_no_square_packed_equals_dense_with_a_mask(
    grid: Size, window: int | str, tokens: str
) -> None:
    model = content_transformer(window=window, tokens=tokens, latent_grid=grid)
    grain_map = uneven_maps(1, *grid.divided(2))
    z, t, y = torch.randn(6, 4, *grid), torch.arange(6) * 100, torch.arange(6) % 4
    with torch.no_grad():
        torch.testing.assert_close(
            model(z, t, y, grain_map), dense_forward(model, z, t, y, grain_map), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("window", [2, 4, 8, "full"])
def test_gradients_of_packed_equal_those_of_dense(window: int | str) -> None:
    model = content_transformer(window=window, seed=3)
    grain_map = uneven_maps(3)
    z, t, y = torch.randn(6, 4, SIDE, SIDE), torch.arange(6) * 100, torch.arange(6) % 4
    weight = torch.randn(6, 8, SIDE, SIDE)
    gradients = []
    for forward in (model, lambda *inputs: dense_forward(model, *inputs)):
        model.zero_grad()
        (forward(z, t, y, grain_map) * weight).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=2e-4, rtol=1e-4, msg=name)


def test_fine_tokens_and_all_tokens_agree_where_every_region_is_fine() -> None:
    fine = content_transformer(tokens="fine")
    every = content_transformer(tokens="all")
    every.load_state_dict(fine.state_dict())
    z, t, y = torch.randn(2, 4, SIDE, SIDE), torch.tensor([5, 900]), torch.tensor([0, 1])
    all_fine, mixed = torch.ones(2, 4, 4, dtype=torch.uint8), torch.eye(4, dtype=torch.uint8).repeat(2, 1, 1)
    with torch.no_grad():
        assert torch.equal(fine(z, t, y, all_fine), every(z, t, y, all_fine))
        assert not torch.allclose(fine(z, t, y, mixed), every(z, t, y, mixed))


def test_all_coarse_never_touches_refinenet() -> None:
    model = content_transformer()
    for p in model.refinenets.parameters():
        p.data.fill_(float("nan"))
    z, t, y = torch.randn(2, 4, SIDE, SIDE, requires_grad=True), torch.tensor([5, 900]), torch.tensor([0, 1])
    out = model(z, t, y, torch.zeros(2, 4, 4, dtype=torch.uint8))
    out.sum().backward()
    assert bool(out.isfinite().all())
    assert all(p.grad is None or not p.grad.any() for p in model.refinenets.parameters())


def test_tokens_computed_are_those_of_fine_regions_only() -> None:
    model = content_transformer()
    seen = []
    model.refinenets[0].blocks[0].mlp.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[0]))
    grain_map = uneven_maps(0)
    z, t, y = torch.randn(6, 4, SIDE, SIDE), torch.arange(6), torch.zeros(6, dtype=torch.long)
    model(z, t, y, grain_map)
    assert seen == [4 * int(grain_map.sum())]


@pytest.mark.parametrize("layers", [0, 2])
def test_an_image_does_not_depend_on_the_others_in_its_batch(layers: int) -> None:
    model = content_transformer(refinenet_layers=layers, window=4)
    grain_map = uneven_maps(1)
    z, t, y = torch.randn(6, 4, SIDE, SIDE), torch.arange(6) * 50, torch.arange(6) % 4
    with torch.no_grad():
        together = model(z, t, y, grain_map)
        alone = torch.cat([model(*(x[i : i + 1] for x in (z, t, y, grain_map))) for i in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_positions_are_learnable_or_fixed_as_asked() -> None:
    learnable = content_transformer(position="learnable")
    fixed = content_transformer(position="fixed")
    assert "refinenets.0.position" in dict(learnable.named_parameters())
    assert "refinenets.0.position" not in dict(fixed.named_parameters())


def test_variable_length_attention_from_its_starts_is_the_grouped_one() -> None:
    """Window by window, as a GPU's kernel goes: 16 windows hold 0 to 16 tokens each."""
    g = torch.Generator().manual_seed(0)
    chosen = torch.rand(4, 8, 8, generator=g) < torch.rand(4, 1, 1, generator=g)
    tokens = pack_windows(chosen.numpy(), Size.of(4))
    n = len(tokens.position)
    q, k, v = (torch.randn(n, 2, 8, generator=g) for _ in range(3))
    starts = tokens.starts.tolist()
    assert tokens.starts.dtype == torch.int32
    assert (starts[0], starts[-1]) == (0, n)
    assert max(b - a for a, b in pairwise(starts)) <= tokens.most == 16
    parts = []
    for start, end in pairwise(starts):
        here = tokens.position[start:end]
        assert len({(int(p) // 64, int(p) % 64 // 32, int(p) % 8 // 4) for p in here}) == 1, "tokens of one window"
        one = (x[start:end].transpose(0, 1) for x in (q, k, v))  # (heads, tokens, D)
        parts.append(F.scaled_dot_product_attention(*one).transpose(0, 1))
    torch.testing.assert_close(tokens.attend(q, k, v), torch.cat(parts), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_variable_length_attention_is_the_cpus_but_for_bfloat16() -> None:
    """Values and gradients; 40 windows of uneven images."""
    g = torch.Generator().manual_seed(0)
    chosen = torch.rand(10, 16, 16, generator=g) < torch.rand(10, 1, 1, generator=g)
    tokens = pack_windows(chosen.numpy(), Size.of(8))
    given = [torch.randn(len(tokens.position), 4, 64, generator=g) for _ in range(3)]
    results = []
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        q, k, v = (x.to(device, dtype).requires_grad_() for x in given)
        out = tokens.map(lambda x, d=device: x.to(d)).attend(q, k, v)  # type: ignore[misc]
        out.float().square().sum().backward()
        results.append([out.detach().float().cpu(), *(x.grad.float().cpu() for x in (q, k, v))])
    for ours, theirs in zip(*results, strict=True):
        assert float((ours - theirs).norm() / ours.norm()) < 1e-2
