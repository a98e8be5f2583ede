"""The adaLN-Zero block is DiT's: equal to one made of timm's parts, and the identity at its start."""

from functools import partial

import pytest
import torch
from timm.layers import Mlp, PatchEmbed
from timm.models.vision_transformer import Attention
from torch import nn
from torch.nn import functional as F

from d2it.size import Size
from d2it.transformer.dit import (
    AdaLNZeroBlock,
    Backbone,
    Blocks,
    Condition,
    Head,
    initialize,
    sincos_positions,
    unpatchify,
)
from d2it.transformer.dit import Attention as OurAttention
from d2it.transformer.routing import DenseTokens
from tests.transformer.models import randomize


def test_block_equals_timms_parts_with_the_same_weights() -> None:
    block = randomize(AdaLNZeroBlock(32, 4, 0.0))
    attention = Attention(32, num_heads=4, qkv_bias=True)
    mlp = Mlp(32, 128, act_layer=lambda: nn.GELU(approximate="tanh"))
    attention.load_state_dict(block.attention.state_dict())
    mlp.load_state_dict({f"fc{i}.{k}": v for i, j in ((1, 0), (2, 3)) for k, v in block.mlp[j].state_dict().items()})
    x, c = torch.randn(3, 10, 32), torch.randn(3, 32)
    norm = nn.LayerNorm(32, eps=1e-6, elementwise_affine=False)
    shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation(F.silu(c))[:, None].chunk(6, -1)
    expected = x + gate1 * attention(norm(x) * (1 + scale1) + shift1)
    expected = expected + gate2 * mlp(norm(expected) * (1 + scale2) + shift2)
    torch.testing.assert_close(block(x, c, DenseTokens()), expected, atol=1e-5, rtol=1e-5)


def test_normalised_queries_and_keys_are_timms_with_the_same_weights() -> None:
    ours = randomize(OurAttention(32, 4, qk_norm=True))
    theirs = Attention(32, num_heads=4, qkv_bias=True, qk_norm=True, norm_layer=partial(nn.RMSNorm, eps=1e-6))
    theirs.load_state_dict(
        {name.replace("norm_q", "q_norm").replace("norm_k", "k_norm"): x for name, x in ours.state_dict().items()}
    )
    x = torch.randn(3, 10, 32)
    torch.testing.assert_close(ours(x, DenseTokens()), theirs(x), atol=1e-5, rtol=1e-5)


def test_normalised_queries_and_keys_run_in_bfloat16() -> None:
    attention = OurAttention(32, 4, qk_norm=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(torch.randn(3, 10, 32), DenseTokens()).dtype == torch.bfloat16


def test_patch_embedding_equals_timms_with_the_same_weights() -> None:
    backbone = Backbone(Blocks(layers=0, width=32, heads=4), grid=Size.of(8), patch=2, channels_in=4)
    backbone.position.zero_()
    theirs = PatchEmbed(img_size=8, patch_size=2, in_chans=4, embed_dim=32)
    theirs.proj.load_state_dict(backbone.embed.state_dict())
    z = torch.randn(3, 4, 8, 8)
    torch.testing.assert_close(backbone(z, torch.randn(3, 32)), theirs(z))


def test_unpatchify_is_dits_formula() -> None:
    x = torch.randn(3, 16, 2 * 2 * 5)
    grid = torch.einsum("nhwpqc->nchpwq", x.reshape(3, 4, 4, 2, 2, 5)).reshape(3, 5, 8, 8)
    assert torch.equal(unpatchify(x, Size.of(4), 2), grid)
    grid = torch.einsum("nhwpqc->nchpwq", x.reshape(3, 2, 8, 2, 2, 5)).reshape(3, 5, 4, 16)
    assert torch.equal(unpatchify(x, Size(2, 8), 2), grid)


def test_a_new_block_is_the_identity_and_a_new_head_zero() -> None:
    model = nn.ModuleList([AdaLNZeroBlock(32, 4, 0.1), Head(32, 8)])
    initialize(model)
    x, c = torch.randn(3, 10, 32), torch.randn(3, 32)
    assert torch.equal(model[0](x, c, DenseTokens()), x)
    assert model[1](x, c, DenseTokens()).abs().max() == 0


def test_positions_tell_rows_from_columns() -> None:
    positions = sincos_positions(32, Size.of(4)).view(4, 4, 32)
    assert torch.equal(positions[0, :, 16:], positions[0, :1, 16:].expand(4, -1))  # a row shares its second half
    assert torch.equal(positions[:, 0, :16], positions[:1, 0, :16].expand(4, -1))  # a column its first, as in DiT
    assert len(positions.flatten(0, 1).unique(dim=0)) == 16


@pytest.mark.parametrize("grid", [Size(2, 5), Size(5, 2)])
def test_positions_of_a_grid_are_along_each_axis_those_of_a_square(grid: Size) -> None:
    positions, square = sincos_positions(32, grid).view(*grid, 32), sincos_positions(32, Size.of(5)).view(5, 5, 32)
    assert torch.equal(positions, square[: grid.height, : grid.width])


def test_condition_depends_on_timestep_and_class_and_knows_no_class() -> None:
    condition = randomize(Condition(16, 3))
    t, y = torch.tensor([1, 1, 500, 1]), torch.tensor([0, 1, 0, 3])
    rows = condition(t, y)
    assert condition.no_class == 3
    assert len(rows.unique(dim=0)) == 4
