"""The demo's crops: real pixels, even over photos, and never the same pixel in training and validation."""

import numpy as np
import pytest
from numpy.typing import NDArray

from d2it.data.crops import CLASSES, halves, random_crops, read_photos
from d2it.data.imageset import DataError
from d2it.size import Size


def positions(height: int, width: int) -> NDArray[np.uint8]:
    """Each pixel says where it is: (row, column, high bits of both)."""
    row, column = np.mgrid[:height, :width]
    return np.stack([row % 256, column % 256, row // 256 * 16 + column // 256], 2).astype(np.uint8)


def pixel_numbers(crop: NDArray[np.uint8]) -> set[int]:
    low_row, low_column, high = (crop[..., i].astype(int) for i in range(3))
    return set((((low_row + high // 16 * 256) << 16) + low_column + high % 16 * 256).ravel().tolist())


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (51, 51), (300, 20)])
def test_training_and_validation_crops_share_no_pixel(height: int, width: int) -> None:
    photo = positions(height, width)
    seen = []
    for half in halves(photo):
        crops = random_crops([half], Size.of(10), 200, np.random.default_rng(0))
        seen.append(set().union(*(pixel_numbers(crops.read(i).pixels) for i in range(200))))
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) > 0.9 * height * width


@pytest.mark.parametrize("size", [Size.of(16), Size(28, 12), Size(12, 20)])
def test_crops_are_of_neighbouring_pixels_and_even_over_photos(size: Size) -> None:
    photos = [positions(30, 40), positions(50, 20)]
    crops = random_crops(photos, size, 21, np.random.default_rng(1))
    assert np.bincount(crops.labels).tolist() == [11, 10]
    for i in range(21):
        crop = crops.read(i).pixels.astype(int)
        assert crop.shape == (*size, 3)
        assert (np.diff(crop[..., 0], axis=0) == 1).all()
        assert (np.diff(crop[..., 1], axis=1) == 1).all()


def test_crops_as_large_as_the_photo_are_the_photo_and_larger_ones_an_error() -> None:
    photo = positions(16, 16)
    np.testing.assert_array_equal(random_crops([photo], Size.of(16), 1, np.random.default_rng(0)).read(0).pixels, photo)
    with pytest.raises(DataError, match=r"image_size = 17.* at most 16"):
        random_crops([photo], Size.of(17), 1, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"image_size = \[8, 24\].* at most \[20, 16\]"):
        random_crops([positions(20, 16)], Size(8, 24), 1, np.random.default_rng(0))


def test_the_wheel_carries_all_photos_in_colour() -> None:
    photos = read_photos()
    assert len(photos) == len(CLASSES) == 8
    assert all(photo.dtype == np.uint8 and photo.shape[2] == 3 and np.ptp(photo, 2).max() > 50 for photo in photos)
