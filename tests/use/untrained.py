"""Whole models that nobody trained: what they draw is noise, but where and how they draw it is as in any other."""

import d2it
from d2it.diffusion.schedule import linear_schedule
from d2it.size import Size
from d2it.use.settings import default_settings
from tests.dvae.test_model import dvae
from tests.transformer.models import content_transformer, randomize


def untrained(factors: list[int], classes: int = 4, size: int | list[int] = 64) -> d2it.D2iT:
    """A model of `size` pixels with random weights."""
    pixels = Size.of(size)
    of_photos = dvae(factors)
    of_photos.thresholds, of_photos.latent_scale = [2.0, 3.0][: len(factors) - 1], 1.0
    return d2it.D2iT(
        dvae=of_photos.eval(),
        grain=randomize(
            d2it.DynamicGrainTransformer(
                layers=1, width=16, heads=2, region_grid=pixels.divided(factors[-1]), classes=classes,
                grains=len(factors),
            )
        ).eval(),
        content=content_transformer(
            factors=factors, latent_grid=pixels.divided(factors[0]), classes=classes, window=4
        ).eval(),
        schedule=linear_schedule(1000, 1e-4, 0.02), objective="epsilon", settings=default_settings("epsilon"),
        class_names=[],
    )  # fmt: skip
