"""Pictures show the photo, which regions are coarse and fine, and where each picture stands."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2it import pictures
from d2it.size import Size


@pytest.mark.parametrize("grains", [1, 2, 3])
def test_coarsest_is_blue_and_finest_is_red(grains: int) -> None:
    colours = pictures.grain_colours(grains)
    assert len(np.unique(colours, axis=0)) == grains
    assert colours[0].argmax() == 2
    if grains > 1:
        assert colours[-1].argmax() == 0


@given(grains=st.integers(2, 3), seed=st.integers(0, 99), size=st.sampled_from([Size.of(4), Size(4, 6), Size(3, 2)]))
@settings(max_examples=20, deadline=None)
def test_grain_maps_can_be_read_back_from_their_pictures(grains: int, seed: int, size: Size) -> None:
    maps = np.random.default_rng(seed).integers(0, grains, (3, *size), dtype=np.uint8)
    flat = pictures.grain_map_pictures(maps, grains, size.times(8))
    assert flat.shape == (3, *size.times(8), 3)
    colours = pictures.grain_colours(grains)
    nearest = np.abs(flat[..., None, :] - colours).sum(-1).argmin(-1)
    np.testing.assert_array_equal(nearest, maps.repeat(8, 1).repeat(8, 2))


def test_a_frequency_goes_from_the_coarsest_to_the_finest_colour() -> None:
    shown = pictures.frequency_pictures(np.array([[[0.0, 0.5], [1.0, 1.0]]]), Size.of(4))
    assert shown.shape == (1, 4, 4, 3)
    coarse, fine = pictures.grain_colours(2)
    for place, colour in (((0, 0), coarse), ((3, 0), fine), ((3, 3), fine), ((1, 3), (coarse + fine) / 2)):
        np.testing.assert_allclose(shown[0][place], colour, atol=1)


@pytest.mark.parametrize("grains", [2, 3])
def test_overlay_tints_each_region_by_its_grain_and_marks_its_border(grains: int) -> None:
    images = np.full((1, 32, 32, 3), 128, np.uint8)
    maps = np.arange(4, dtype=np.uint8).reshape(1, 2, 2) % grains
    shown = pictures.overlay(images, maps, grains).astype(int)
    colours = pictures.grain_colours(grains)
    for row in range(2):
        for column in range(2):
            region = shown[0, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
            towards = colours[maps[0, row, column]] - 128
            assert ((region - 128) * np.sign(towards) >= 0).all()
            assert np.abs(region[0] - 128).sum() > 1.5 * np.abs(region[8] - 128).sum()
            assert (region[1:-1, 1:-1] == region[8, 8]).all()


def test_overlay_does_not_hide_the_photo() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    shown = pictures.overlay(images, np.zeros((1, 2, 2), np.uint8), 2)
    inside = np.s_[0, 1:15, 1:15, 0]
    assert np.corrcoef(images[inside].ravel(), shown[inside].ravel())[0, 1] > 0.99
    assert shown[inside].std() > 0.7 * images[inside].std()


def test_grid_holds_every_pixel_of_every_picture_enlarged() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 256, (n, 5, 7, 3), dtype=np.uint8) for n in (3, 1)]
    plain = pictures.grid(rows, scale=2)
    gutter = pictures.GUTTER
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = gutter + i * (10 + gutter), gutter + j * (14 + gutter)
            np.testing.assert_array_equal(plain[y : y + 10 : 2, x + 1 : x + 14 : 2], picture)
    assert plain.shape == (gutter + 2 * (10 + gutter), gutter + 3 * (14 + gutter), 3)


def test_captions_stand_beside_the_pictures_and_not_on_them() -> None:
    rows = [np.zeros((2, 40, 60, 3), np.uint8)] * 2
    plain, captioned = pictures.grid(rows), pictures.grid(rows, ["a", "longer"], ["one", "two"])
    assert captioned.shape[0] > plain.shape[0]
    assert captioned.shape[1] > plain.shape[1]
    down, right = plain.shape[:2]
    np.testing.assert_array_equal(captioned[-down + pictures.GUTTER :, -right + pictures.GUTTER :], plain[4:, 4:])
    assert (captioned[: -down + 1] < 128).any()  # column captions
    assert (captioned[:, : -right + 1] < 128).any()  # row captions


@pytest.mark.parametrize(
    ("size", "scale"), [(Size.of(64), 2), (Size(64, 96), 2), (Size(96, 64), 2), (Size(32, 512), 4)]
)
def test_small_images_are_enlarged_until_their_shorter_side_can_be_seen(size: Size, scale: int) -> None:
    assert pictures.legible(np.zeros((1, *size, 3), np.uint8)) == scale


def test_sizes_that_do_not_fit_are_refused() -> None:
    images, maps = np.zeros((1, 30, 30, 3), np.uint8), np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="multiples"):
        pictures.overlay(images, maps, 2)
    with pytest.raises(ValueError, match="multiple"):
        pictures.grain_map_pictures(maps, 2, Size.of(30))
    with pytest.raises(ValueError, match="one size"):
        pictures.grid([images, images[:, :20]])
    with pytest.raises(ValueError, match="one size"):
        pictures.grid([])


def test_histogram_is_highest_where_values_are_most_and_works_on_a_constant() -> None:
    values = np.concatenate([np.full(900, 1.0), np.linspace(0, 4, 100)])
    bars = (pictures.histogram(values, "values", [(2.0, "half")]) == 120).all(-1).sum(0)
    assert abs(bars.argmax() / len(bars) - 0.25) < 0.02
    for constant in (0.0, 3.0):
        assert pictures.histogram(np.full(10, constant), "constant").shape[2] == 3


def test_saved_picture_reads_back_and_has_the_same_bytes_twice(tmp_path: Path) -> None:
    picture = pictures.grid([np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)], ["row"])
    for name in ("a.png", "b.png"):
        pictures.save_png(tmp_path / name, picture)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
