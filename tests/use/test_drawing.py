"""What the page asks of a model, without the page: maps as text and of photos, and what an image costs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import d2it
from d2it.errors import UserError
from d2it.size import Size
from d2it.use.drawing import Wish, describe, draw, map_of_photo, map_of_text, map_text, tokens_per_region
from tests.use.untrained import untrained


@pytest.fixture(scope="module")
def model() -> d2it.D2iT:
    return untrained([8, 16])


def busy_right() -> NDArray[np.uint8]:
    """64 x 64 pixels: grey on the left, noise on the right."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    pixels[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 3))
    return pixels


def test_a_painted_map_is_the_map_that_is_drawn(model: d2it.D2iT) -> None:
    painted = "0110" * 4
    drawing = draw(model, Wish(label=1, seed=3, steps=2, detail="painted", painted=painted))
    assert map_text(drawing.grain_map) == painted
    own = model.sample([1], [3], steps=2, grain_maps=drawing.grain_map, progress=False)
    assert np.array_equal(np.asarray(drawing.image), np.asarray(own.images[0]))


def test_nothing_but_a_seed_draws_what_sample_draws(model: d2it.D2iT) -> None:
    drawing, own = draw(model, Wish(seed=5, steps=2)), model.sample([0], [5], steps=2, progress=False)
    assert np.array_equal(np.asarray(drawing.image), np.asarray(own.images[0]))
    assert np.array_equal(drawing.grain_map, own.grain_maps[0])


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_fine_ratio_holds_for_the_models_map_and_for_a_photos(
    model: d2it.D2iT, tmp_path: Path, ratio: float
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (90, 70, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    assert draw(model, Wish(steps=1, detail="ratio", fine_ratio=ratio)).grain_map.mean() == ratio
    of_photo = Wish(steps=1, detail="photo", fine_ratio=ratio, photo=tmp_path / "photo.png")
    assert draw(model, of_photo).grain_map.mean() == ratio


def test_a_photo_may_be_transparent_or_grey_or_of_any_size(model: d2it.D2iT, tmp_path: Path) -> None:
    expected = [[0, 0, 1, 1]] * 4
    transparent = Image.fromarray(busy_right())
    transparent.putalpha(255)
    huge = Image.fromarray(busy_right()).resize((6400, 3200), Image.Resampling.NEAREST)
    for name, image in {"a": transparent, "b": Image.fromarray(busy_right()).convert("L"), "c": huge}.items():
        image.save(tmp_path / f"{name}.png")
        pixels, grain_map = map_of_photo(model, tmp_path / f"{name}.png", 0.5)
        assert pixels.shape == (64, 64, 3)
        if name != "c":
            assert grain_map.tolist() == expected
    Image.new("L", (100, 100), 128).save(tmp_path / "flat.png")  # every region is as busy as every other
    assert not map_of_photo(model, tmp_path / "flat.png", 0.5)[1].any()


def test_a_photo_that_cannot_be_read_is_named_without_its_folder(model: d2it.D2iT, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match=r"^photo\.jpg: no image that can be read"):
        map_of_photo(model, tmp_path / "photo.jpg", 0.5)
    with pytest.raises(UserError, match="no photo yet"):
        draw(model, Wish(detail="photo"))


@pytest.mark.parametrize("text", ["", "0", "0" * 17, "2" * 16, "000000000000000x", "-" * 16])
def test_a_text_that_is_no_map_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"must be 16 digits, 0 \(coarsest\) to 1") as caught:
        map_of_text(text, Size.of(4), 2)
    assert "\n" not in str(caught.value)


def test_maps_survive_as_text() -> None:
    for size in (Size.of(4), Size(2, 6)):
        grain_map = torch.randint(0, 3, size, generator=torch.Generator().manual_seed(0)).numpy().astype(np.uint8)
        assert np.array_equal(map_of_text(map_text(grain_map), size, 3), grain_map)


def test_the_line_counts_tokens_as_the_routing_does(model: d2it.D2iT) -> None:
    drawing = draw(model, Wish(steps=1, detail="painted", painted="0001" * 4))
    assert tokens_per_region(model) == [1, 5]
    assert describe(model, drawing).endswith(" s · 32 of 80 tokens · 4 of 16 regions fine")


@pytest.mark.parametrize("size", [[64, 96], [96, 64]])
def test_a_model_of_images_that_are_no_squares_draws_what_is_painted_and_the_map_of_a_photo(
    size: list[int], tmp_path: Path
) -> None:
    other = untrained([8, 16], size=size)
    photo = np.full((300, 300, 3), 128, np.uint8)
    photo[:, 150:] = np.random.default_rng(0).integers(0, 256, (300, 150, 3))  # the right half is busy
    Image.fromarray(photo).save(tmp_path / "photo.png")
    pixels, grain_map = map_of_photo(other, tmp_path / "photo.png", 0.5)
    assert pixels.shape == (*size, 3)
    assert grain_map[:, grain_map.shape[1] // 2 :].all()
    assert not grain_map[:, : grain_map.shape[1] // 2].any()
    drawing = draw(other, Wish(steps=1, detail="painted", painted=map_text(grain_map)))
    assert (drawing.image.height, drawing.image.width) == other.image_size
    assert np.array_equal(drawing.grain_map, grain_map)
    with pytest.raises(UserError, match="must be 24 digits"):
        draw(other, Wish(steps=1, detail="painted", painted="0" * 16))
    wrong = np.zeros((2, 6, 6), np.uint8)
    h, w = other.region_grid
    with pytest.raises(UserError, match=rf"grain maps of shape \(2, 6, 6\): must be \(N, {h}, {w}\)"):
        other.sample(0, 0, grain_maps=wrong, progress=False)


@pytest.mark.parametrize(("factors", "classes"), [([8, 16, 32], 4), ([8, 16], 0), ([8], 4)])
def test_models_with_other_grains_and_without_classes_draw_too(factors: list[int], classes: int) -> None:
    other = untrained(factors, classes)
    drawing = draw(other, Wish(steps=1))
    painted = map_text(drawing.grain_map)
    assert draw(other, Wish(steps=1, detail="painted", painted=painted)).image.size == (64, 64)
    assert len(tokens_per_region(other)) == len(factors)
