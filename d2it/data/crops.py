"""`data.source: skimage`: random crops of the colour photos that the scikit-image wheel carries.

Training crops come from the first half of each photo along its longer side, validation crops from the second half.
"""

import importlib.resources
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from d2it.data.imageset import Cropped, DataError, ImageSet
from d2it.size import Size

PHOTOS = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip
CLASSES = [Path(name).stem for name in PHOTOS]


def read_photos() -> list[NDArray[np.uint8]]:
    """The photos in the order of CLASSES, uint8 (H, W, 3) each.

    Raises:
        DataError: the wheel does not carry one of them.
    """
    folder, photos = Path(str(importlib.resources.files("skimage"))) / "data", []
    for name in PHOTOS:
        try:
            with Image.open(folder / name) as image:
                photos.append(np.asarray(image.convert("RGB")))
        except OSError as error:
            raise DataError(f"data.source = skimage: {folder / name}: cannot be read ({error})") from None
    return photos


def halves(photo: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut a photo (H, W, 3) across the middle of its longer side."""
    H, W, _ = photo.shape
    return (photo[: H // 2], photo[H // 2 :]) if H >= W else (photo[:, : W // 2], photo[:, W // 2 :])


def random_crops(photos: Sequence[NDArray[np.uint8]], size: Size, count: int, rng: np.random.Generator) -> ImageSet:
    """`count` crops at native resolution, evenly over the photos in turn, each at a uniformly random place.

    Raises:
        DataError: a photo is smaller than a crop.
    """
    shapes = np.array([photo.shape[:2] for photo in photos])
    largest = Size(*shapes.min(0).tolist())
    if size.height > largest.height or size.width > largest.width:
        raise DataError(
            f"data.image_size = {size.plain}: half photos of data.source = skimage allow at most {largest.plain}"
        )
    labels = np.arange(count, dtype=np.int64) % len(photos)
    room = shapes[labels] - np.array(size)  # (count, 2)
    corners = rng.integers(0, room, endpoint=True)

    def read(index: int) -> Cropped:
        top, left = corners[index]
        return Cropped(photos[labels[index]][top : top + size.height, left : left + size.width], False)

    return ImageSet(size, labels, read)
