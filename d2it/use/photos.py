"""Photos and grain maps as people have them: PIL images, arrays and files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from d2it.data.decode import decode
from d2it.data.resample import resize_middle
from d2it.errors import UserError
from d2it.size import Size

Photo = Image.Image | NDArray[np.uint8] | str | Path


class PhotoError(UserError):
    """A photo or grain map that cannot be used; the message is one line."""


def middle(photo: Photo, size: Size) -> NDArray[np.uint8]:
    """The middle of a photo at `size`, resized and cropped as for training: uint8 (H, W, 3).

    Raises:
        PhotoError: it cannot be read.
    """
    if isinstance(photo, str | Path):
        try:
            return decode(Path(photo).read_bytes(), size).pixels
        except (OSError, ValueError) as error:
            raise PhotoError(f"{photo}: no image that can be read: {error}") from None
    image = photo.convert("RGB") if isinstance(photo, Image.Image) else Image.fromarray(np.asarray(photo, np.uint8))
    return resize_middle(image, size)


def as_grain_maps(given: NDArray[np.integer] | Photo | Sequence[Photo], size: Size, grains: int) -> NDArray[np.uint8]:
    """Grain maps (N, *size) from an array of grains (N, h, w) or (h, w), or from black and white pictures.

    In a picture black is coarse and white fine; a region takes the mean of its pixels.

    Raises:
        PhotoError: of another size, or with grains that the model does not have.
    """
    if isinstance(given, str | Path | Image.Image):
        return _of_picture(given, size, grains)[None]
    if isinstance(given, list | tuple) and given and isinstance(given[0], str | Path | Image.Image):
        return np.stack([_of_picture(picture, size, grains) for picture in given])
    maps = np.asarray(given)
    maps = maps[None] if maps.ndim == 2 else maps
    if maps.ndim != 3 or maps.shape[1:] != size:
        raise PhotoError(f"grain maps of shape {maps.shape}: must be (N, {size.height}, {size.width})")
    if not np.array_equal(maps, maps.astype(np.int64)):
        raise PhotoError(f"grain maps of {maps.dtype}: must be whole numbers, 0 (coarsest) to {grains - 1}")
    if maps.size and not 0 <= maps.min() <= maps.max() < grains:
        raise PhotoError(f"grain maps with grains {maps.min()} to {maps.max()}: must be 0 (coarsest) to {grains - 1}")
    return maps.astype(np.uint8)


def _of_picture(picture: str | Path | Image.Image, size: Size, grains: int) -> NDArray[np.uint8]:
    try:
        image = picture if isinstance(picture, Image.Image) else Image.open(picture)
        grey = np.asarray(image.convert("L").resize((size.width, size.height), Image.Resampling.BOX))
    except OSError as error:
        raise PhotoError(f"{picture}: no image that can be read: {error}") from None
    levels: NDArray[np.uint8] = np.minimum(grey.astype(np.int64) * grains // 255, grains - 1).astype(np.uint8)
    return levels
