"""RefineNets at low noise alone: above the level no token is refined, below it nothing is other than always."""

from typing import Any

import pytest
import torch
from torch import Tensor

from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.late import late
from d2it.diffusion.noise import ImageStreams, multi_grained_noise
from d2it.diffusion.prediction import Prediction
from d2it.diffusion.schedule import at, flow_schedule, linear_schedule
from d2it.dvae.model import DynamicVAE
from d2it.grain.codes import enlarge
from d2it.transformer.content import DynamicContentTransformer

CPU = torch.device("cpu")
COPIES = [2, 1]


def generator(**changes: Any) -> ImageGenerator:
    torch.manual_seed(0)
    content = DynamicContentTransformer(
        layers=1, width=32, heads=2, refinenet_layers=1, window=2, latent_grid=8, classes=3, factors=(8, 16)
    )
    for parameter in content.parameters():
        parameter.data.normal_(std=0.05)
    dvae = DynamicVAE(channels=8, multipliers=(1, 1, 1), patch=2, res_blocks=1)
    kind: dict[str, Any] = {"objective": "flow", "sampler": "euler", "steps": 8, "guidance": 2.0}
    return ImageGenerator(
        dvae=dvae.eval(), content=content.eval(), schedule=linear_schedule(100, 1e-4, 0.02), **kind | changes
    )


def latents(one: ImageGenerator, maps: Tensor) -> Tensor:
    return one.latents(torch.tensor([0, 1]), maps, ImageStreams([1, 2], CPU))


MAPS = torch.tensor([[[0, 1, 0, 1]] * 4, [[1, 1, 0, 0]] * 4], dtype=torch.uint8)


@pytest.mark.parametrize(
    "kind", [{}, {"objective": "v", "sampler": "ddim"}, {"objective": "epsilon", "sampler": "ddpm"}]
)
def test_at_level_1_nothing_changes_and_below_it_something_does(kind: dict[str, Any]) -> None:
    always, at_all, at_half = (latents(generator(refine_below=below, **kind), MAPS) for below in (1.0, 1.0, 0.5))
    assert torch.equal(always, at_all)
    assert not torch.equal(always, at_half)
    assert torch.isfinite(at_half).all()


def test_latents_stay_constant_inside_coarse_regions_and_differ_inside_fine_ones() -> None:
    z = latents(generator(refine_below=0.5), MAPS)
    first = z[..., ::2, ::2]
    same = (z == enlarge(first, 2)).all(1)  # (B, h, w)
    coarse = enlarge(MAPS, 2) == 0
    assert same[coarse].all()
    assert not same[~coarse].all()


def test_no_token_is_refined_above_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    one, refined = generator(refine_below=0.5), list[bool]()
    real = DynamicContentTransformer.forward

    def counted(self: Any, z: Tensor, t: Tensor, labels: Tensor, grain_map: Tensor, **more: Any) -> Tensor:
        refined.append(len(more["routes"][0].parent) > 0)
        return real(self, z, t, labels, grain_map, **more)

    monkeypatch.setattr(DynamicContentTransformer, "forward", counted)
    latents(one, MAPS)
    assert refined == [False] * 4 + [True] * 4


def test_a_mean_of_codes_gets_the_noise_of_a_coarse_code() -> None:
    """The backbone sees α z_0 + σ ε with ε of unit variance in every region, whatever its grain."""
    schedule, maps = flow_schedule(torch.tensor([0.3, 0.6, 0.9])), MAPS.repeat(400, 1, 1)
    streams = ImageStreams(list(range(len(maps))), CPU)
    noise, seen = multi_grained_noise(streams.normal((4, 8, 8)), maps, COPIES), list[Tensor]()
    index = torch.full((len(maps),), 2)
    z_t = at(schedule.alpha, index) * 1.5 + at(schedule.sigma, index) * noise

    def coarse(z: Tensor, index: Tensor) -> Prediction:
        seen.append(z)
        return Prediction(torch.full_like(z, 1.5), z, torch.zeros_like(z))

    predict = late(
        schedule, coarse, coarse, below=0.5, grain_map=maps, copies=COPIES, noise=lambda: streams.normal((4, 8, 8))
    )
    predicted = predict(z_t, index)
    epsilon = (seen[0] - at(schedule.alpha, index) * 1.5) / at(schedule.sigma, index)
    for grain in (0, 1):
        of_grain = epsilon.permute(0, 2, 3, 1)[enlarge(maps, 2) == grain]
        assert of_grain.std().item() == pytest.approx(1, abs=0.02)
        assert of_grain.mean().item() == pytest.approx(0, abs=0.02)
    torch.testing.assert_close(predicted.noise, noise, atol=1e-4, rtol=1e-4)  # each code keeps its own
