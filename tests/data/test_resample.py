"""The middle of a resized image is Pillow's, to the byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from d2it.data.resample import resize_middle
from d2it.size import Size


def by_pillow(image: Image.Image, size: Size) -> NDArray[np.uint8]:
    scale = max(size.height / image.height, size.width / image.width)
    width, height = (round(length * scale) for length in image.size)
    left, top = (width - size.width) // 2, (height - size.height) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size.width, top + size.height)))


def noise(seed: int, width: int, height: int) -> Image.Image:
    """Bytes at both ends of the range, where sums overflow it."""
    pixels = np.random.default_rng(seed).choice(np.array([0, 1, 127, 254, 255], np.uint8), (height, width, 3))
    return Image.fromarray(pixels)


SIDES = st.integers(1, 150)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=SIDES, height=SIDES, size=st.builds(Size, SIDES, SIDES))
def test_equals_pillow_for_any_sizes(seed: int, width: int, height: int, size: Size) -> None:
    image = noise(seed, width, height)
    np.testing.assert_array_equal(resize_middle(image, size), by_pillow(image, size))


@pytest.mark.parametrize("to", [Size.of(256), Size(256, 384), Size(384, 256)])
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (400, 711), (400, 801), (801, 400), (256, 256), (90, 1000)])
def test_equals_pillow_for_photos(size: tuple[int, int], to: Size) -> None:
    image = noise(0, *size)
    np.testing.assert_array_equal(resize_middle(image, to), by_pillow(image, to))
