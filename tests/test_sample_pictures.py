"""Pictures of samples: what they show, and of which samples."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2it import pictures, sample_pictures
from d2it.size import Size
from d2it.transformer.content import DynamicContentTransformer


def test_each_class_has_a_row_of_its_own_samples() -> None:
    labels = np.array([0, 1, 2] * 4 + [7])
    rows = sample_pictures.rows_by_class(labels, classes=3, each=2)
    assert [row.tolist() for row in rows] == [[0, 3], [2, 5], [12]]
    assert len(sample_pictures.rows_by_class(np.arange(1000), classes=12)) == 12


def test_without_classes_all_rows_are_filled_with_the_first_samples() -> None:
    rows = sample_pictures.rows_by_class(np.zeros(7, np.int64), classes=2, each=3)
    assert [row.tolist() for row in rows] == [[0, 1, 2], [3, 4, 5]]


def test_rows_of_unequal_length_stay_on_their_side() -> None:
    red, blue = (np.full((1, 128, 128, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    picture = sample_pictures.side_by_side([red, red.repeat(2, 0)], [blue, blue], [], ("a", "b"))
    columns = [np.flatnonzero((picture == colour).all(2).any(0)) for colour in ((255, 0, 0), (0, 0, 255))]
    assert columns[0].max() < columns[1].min()


@pytest.mark.parametrize("factors", [[8, 16], [4, 8, 16]])
def test_tokens_of_a_region_are_those_that_the_model_computes(factors: list[int]) -> None:
    """Counted from the routes of a model: one token per region in the backbone, and RefineNet's."""
    import torch

    grid = 64 // factors[0]
    model = DynamicContentTransformer(
        layers=1, width=16, heads=2, window="full", factors=factors, latent_grid=grid, classes=2
    )
    for grain, counted in enumerate(sample_pictures.tokens_of_grain(model.copies)):
        grain_map = torch.full((1, 4, 4), grain, dtype=torch.uint8)
        refined = sum(len(route.tokens.position) for route in model.route(grain_map))
        assert counted * 16 == 16 + refined


@pytest.mark.parametrize("size", [Size.of(64), Size(64, 192), Size(192, 64)])
def test_a_film_of_images_of_any_shape_is_about_as_wide_as_high(size: Size) -> None:
    frame = sample_pictures.film(np.zeros((1, 9, *size, 3), np.uint8))[0]
    assert 0.5 < frame.shape[0] / frame.shape[1] < 2


def test_tokens_are_written_into_the_regions_of_an_image_that_is_no_square() -> None:
    """White digits in each of 2 x 3 regions."""
    images, maps = np.zeros((1, 64, 96, 3), np.uint8), np.array([[[0, 1, 0], [1, 0, 1]]], np.uint8)
    picture = sample_pictures.tokens(images, maps, [2, 1])
    flat = picture[-(128 + pictures.GUTTER) : -pictures.GUTTER, -(192 + pictures.GUTTER) : -pictures.GUTTER]
    for region in (part for row in np.split(flat, 2) for part in np.split(row, 3, 1)):
        assert (region == 255).all(-1).any()
        assert len(np.unique(region[:4].reshape(-1, 3), axis=0)) == 1


def test_the_film_has_its_frames_and_ends_on_the_last_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    steps = np.broadcast_to(rng.integers(0, 256, (5, 1, 1, 1, 3), dtype=np.uint8), (5, 4, 64, 64, 3))
    frames = sample_pictures.film(steps)
    pictures.save_gif(tmp_path / "film.gif", frames, seconds=2.0, pause=1.0)
    with Image.open(tmp_path / "film.gif") as film:
        durations = []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
            middle = np.asarray(film.convert("RGB"))[40, 40].astype(int)
            assert np.abs(middle - steps[i, 0, 0, 0]).max() <= 4
    assert durations == [400, 400, 400, 400, 1400]
