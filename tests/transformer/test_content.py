"""The content transformer keeps the multi-grained invariant for any number of grains; without RefineNet it is DiT."""

import pytest
import torch
from torch import Tensor

from d2it.grain.codes import copy_codes
from d2it.size import Size
from d2it.transformer.routing import plan_routes
from tests.transformer.models import content_transformer, randomize, tiny_dit

GRAINS = {1: [8], 2: [8, 16], 3: [8, 16, 32], 4: [8, 16, 32, 64]}


def inputs(grains: int, seed: int = 0, images: int = 4, grid: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z_t multi-grained, t, labels, grain map: an image of each single grain, then random ones."""
    g = torch.Generator().manual_seed(seed)
    regions = grid // 2 ** (grains - 1)
    grain_map = torch.randint(0, grains, (images, regions, regions), generator=g)
    for grain in range(min(grains, images)):
        grain_map[grain] = grain
    copies = [2**i for i in reversed(range(grains))]
    z = copy_codes(torch.randn(images, 4, grid, grid, generator=g), grain_map, copies)
    return z, torch.arange(images) * 100, torch.arange(images) % 4, grain_map


@pytest.mark.parametrize("grains", GRAINS)
@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("tokens", ["fine", "all"])
def test_output_is_constant_inside_coarse_regions(grains: int, layers: int, tokens: str) -> None:
    model = content_transformer(refinenet_layers=layers, tokens=tokens, factors=GRAINS[grains], latent_grid=16)
    z, t, y, grain_map = inputs(grains)
    with torch.no_grad():
        out = model(z, t, y, grain_map)
    assert out.shape == (4, 8, 16, 16)
    assert torch.equal(out, copy_codes(out, grain_map, model.copies))
    assert bool((out != 0).all())


def test_without_refinenet_fine_noise_comes_straight_from_dits_patch_2_head_and_coarse_noise_is_its_mean() -> None:
    """The paper's 'w/o': the same parts, the same weights and the same output as DiT where every region is fine."""
    model = content_transformer(refinenet_layers=0, latent_grid=16)
    plain = tiny_dit(16)
    plain.load_state_dict(model.state_dict())
    z, t, y, grain_map = inputs(2)
    with torch.no_grad():
        noise = plain(z, t, y)
        assert torch.equal(model(z, t, y, torch.ones_like(grain_map)), noise)
        mixed = model(z, t, y, grain_map)
    fine = (grain_map == 1).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None].expand_as(noise)
    assert torch.equal(mixed[fine], noise[fine])
    mean = torch.nn.functional.avg_pool2d(noise, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(mixed[~fine], mean[~fine])


@pytest.mark.parametrize("grid", [Size(8, 12), Size(12, 4)])
def test_without_refinenet_a_grid_that_is_no_square_is_dits_too(grid: Size) -> None:
    model, plain = content_transformer(refinenet_layers=0, latent_grid=grid), tiny_dit(grid)
    plain.load_state_dict(model.state_dict())
    z, t, y = torch.randn(2, 4, *grid), torch.tensor([5, 900]), torch.tensor([0, 1])
    with torch.no_grad():
        all_fine = torch.ones(2, *grid.divided(2), dtype=torch.uint8)
        assert torch.equal(model(z, t, y, all_fine), plain(z, t, y))


@pytest.mark.parametrize("grid", [Size(8, 24), Size(24, 8)])
def test_three_grains_on_a_grid_that_is_no_square_keep_the_invariant_and_their_places(grid: Size) -> None:
    """What changes in the first window alone, positions here, changes nothing outside it."""
    model = content_transformer(window=8, factors=GRAINS[3], latent_grid=grid)
    g = torch.Generator().manual_seed(0)
    grain_map = torch.randint(0, 3, (2, *grid.divided(4)), generator=g, dtype=torch.uint8)
    z = copy_codes(torch.randn(2, 4, *grid, generator=g), grain_map, model.copies)
    t, y = torch.tensor([5, 900]), torch.tensor([0, 1])
    with torch.no_grad():
        out = model(z, t, y, grain_map)
        assert torch.equal(out, copy_codes(out, grain_map, model.copies))
        for net in model.refinenets:
            net.position.view(*net.grid, -1)[: 8 // net.patch, : 8 // net.patch] += 1.0
        moved = model(z, t, y, grain_map)
    first = (slice(None), slice(None), slice(0, 8), slice(0, 8))
    rest = torch.ones(grid, dtype=torch.bool)
    rest[:8, :8] = False
    assert torch.equal(moved[..., rest], out[..., rest])
    assert not torch.equal(moved[first], out[first])


@pytest.mark.parametrize("window", [4, 8, "full"])
def test_three_grains_each_have_a_refinenet_that_sees_only_its_regions(window: int | str) -> None:
    model = content_transformer(window=window, factors=GRAINS[3], latent_grid=16)
    counts: list[int] = []
    for net in model.refinenets:
        net.blocks[0].mlp.register_forward_hook(lambda _, x, __: counts.append(len(x[0])))
    z, t, y, grain_map = inputs(3)
    model(z, t, y, grain_map)
    assert counts == [4 * int((grain_map >= 1).sum()), 16 * int((grain_map == 2).sum())]


def test_a_finer_grain_that_no_region_has_costs_nothing() -> None:
    model = content_transformer(factors=GRAINS[3], latent_grid=16)
    z, t, y, grain_map = inputs(3)
    for p in model.refinenets[1].parameters():
        p.data.fill_(float("nan"))
    out = model(z, t, y, grain_map.clamp(max=1))
    assert bool(out.isfinite().all())
    out.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.refinenets[1].blocks.parameters())
    assert [len(route.child) > 0 for route in model.route(grain_map.clamp(max=1))] == [True, False]
    assert [len(route.child) for route in model.route(grain_map * 0)] == [0, 0]


def test_three_grains_without_the_coarsest_equal_two_grains_in_their_refinenet() -> None:
    """A token of the middle grain does not change when another region becomes finer."""
    model = content_transformer(window=4, factors=GRAINS[3], latent_grid=16)
    z, t, y, grain_map = inputs(3)
    middle = torch.ones_like(grain_map)
    finer = middle.clone()
    finer[:, 0, 0] = 2
    with torch.no_grad():
        a, b = model(z, t, y, middle), model(z, t, y, finer)
    same = torch.ones(16, 16, dtype=torch.bool)
    same[:4, :4] = False
    torch.testing.assert_close(a[..., same], b[..., same], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(a[..., ~same], b[..., ~same])


def test_routes_planned_before_give_the_same_output() -> None:
    model = content_transformer(latent_grid=16)
    z, t, y, grain_map = inputs(2)
    with torch.no_grad():
        assert torch.equal(model(z, t, y, grain_map), model(z, t, y, grain_map, routes=model.route(grain_map)))


def test_every_token_of_a_route_comes_from_the_coarser_token_above_it() -> None:
    grain_map = inputs(3)[3]
    (first, second) = plan_routes(
        grain_map.numpy(), [Size.of(4), Size.of(8), Size.of(16)], [Size.of(4), Size.of(8)], all_tokens=False
    )
    for route, side, above in ((first, 8, None), (second, 16, first)):
        flat = route.tokens.position
        image, y, x = flat // side**2, flat // side % side, flat % side
        row = route.parent[route.child // 4]
        parent = row if above is None else above.tokens.position[row]
        assert torch.equal(parent, (image * (side // 2) + y // 2) * (side // 2) + x // 2)
        assert torch.equal(route.child % 4, y % 2 * 2 + x % 2)


def test_activation_checkpointing_changes_no_gradient() -> None:
    z, t, y, grain_map = inputs(2)
    gradients = []
    for switch in (False, True):
        model = content_transformer(activation_checkpointing=switch, latent_grid=16)
        model(z, t, y, grain_map).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_tiny_dit_is_deterministic_and_starts_at_zero() -> None:
    torch.manual_seed(0)
    model = tiny_dit(8)
    z, t, y = torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), torch.tensor([0, 4])
    assert model(z, t, y).abs().max() == 0
    randomize(model)
    assert torch.equal(model(z, t, y), model(z, t, y))
    assert model(z, t, y).shape == (2, 8, 8, 8)


def test_under_bfloat16_autocast_output_is_float32_near_the_exact_one_and_gradients_are_finite() -> None:
    model = content_transformer(latent_grid=16)
    z, t, y, grain_map = inputs(2)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(z, t, y, grain_map)
    exact = model(z, t, y, grain_map)
    assert out.dtype == torch.float32
    assert bool(((out - exact).abs().max() < 0.05 * exact.abs().max()).all())
    out.square().mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
