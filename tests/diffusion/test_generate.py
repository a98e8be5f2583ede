"""From labels and grain maps to images, with models of initial weights."""

import pytest
import torch

from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.model import DynamicVAE
from d2it.transformer.content import DynamicContentTransformer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models() -> tuple[DynamicVAE, DynamicContentTransformer]:
    torch.manual_seed(0)
    dvae = DynamicVAE(channels=8, multipliers=(1, 1, 1, 2), res_blocks=1)
    content = DynamicContentTransformer(layers=1, width=16, heads=2, window=2, latent_grid=4, classes=3)
    for parameter in content.parameters():  # DiT's last layer is zero at first, and so would be all predictions
        torch.nn.init.normal_(parameter, std=0.1)
    return dvae.eval(), content.eval()


@pytest.mark.parametrize(("sampler", "objective"), [("ddpm", "epsilon"), ("dpm-solver++", "v"), ("heun", "flow")])
def test_a_film_ends_on_the_image_and_begins_elsewhere(
    models: tuple[DynamicVAE, DynamicContentTransformer], sampler: str, objective: str
) -> None:
    dvae, content = models
    generator = ImageGenerator(
        dvae=dvae, content=content, schedule=linear_schedule(100, 1e-3, 0.2), objective=objective, steps=6,
        sampler=sampler, guidance=1.5,
    )  # fmt: skip
    labels, maps = torch.tensor([0, 2]), torch.tensor([[[0, 1], [1, 0]], [[1, 1], [0, 0]]], dtype=torch.uint8)
    images = generator.images(labels, maps, ImageStreams([5, 6], CPU))
    film = generator.denoise(labels, maps, ImageStreams([5, 6], CPU), frames=4)
    assert film.shape == (4, 2, 3, 32, 32)
    torch.testing.assert_close(film[-1], images, rtol=0, atol=1e-5)
    assert (film[0] - images).abs().max() > 1e-3
    assert len(generator.denoise(labels, maps, ImageStreams([5, 6], CPU), frames=99)) >= 6
