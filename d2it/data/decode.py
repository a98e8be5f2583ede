"""Any image file to RGB pixels of the training size (our reading; for squares as in ADM, Dhariwal and Nichol 2021).

An image is resized so that it just covers the training size, and what stands out is cut off evenly at both ends.

Colour: EXIF orientation is applied; transparency is laid over white; 16-bit grey is scaled to 8 bits; CMYK is converted
without its profile, and colour profiles are ignored; of an animation the first frame counts.
"""

import io

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from d2it.data.imageset import Cropped
from d2it.data.resample import covering, resize_middle
from d2it.size import Size

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # by content: suffixes lie
MAX_PIXELS = 1 << 27  # of an image; decoding so many takes 1 GB of memory, with transparency 1.6 GB
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # of which Pillow warns
# Pillow refuses a PNG for a long text or colour profile, whose pixels are good.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 28

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def decode(file: bytes, size: Size) -> Cropped:
    """Content of an image file -> its middle at `size`, uint8 (H, W, 3).

    Raises:
        ValueError: as of `read_rgb`, or so narrow that it would be absurdly large where it covers `size`.
    """
    rgb = read_rgb(file)
    return Cropped(_middle(rgb, size), covering(rgb, size) > 1)


def read_rgb(file: bytes) -> Image.Image:
    """Content of an image file -> the image as it is, upright, in mode RGB.

    Raises:
        ValueError: not an image of a known format, damaged, cut short, or absurdly large. A JPEG is damaged where its
            decoder warns that the data are not as they should be.
    """
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f"{image.width} x {image.height} pixels: must be at most {MAX_PIXELS / 1e6:.0f} million"
                )
            plain_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
            return _upright(_jpeg(file) if plain_jpeg else _rgb(image), _orientation(image))
    except UnidentifiedImageError:
        raise ValueError(f"not an image of a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise nearly every type on damaged files
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _jpeg(file: bytes) -> Image.Image:
    """The same pixels as Pillow's, by the same libjpeg-turbo, but where that warns of damaged data Pillow is silent."""
    return Image.fromarray(simplejpeg.decode_jpeg(file, "RGB", strict=True))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 (upright) where there is none or it cannot be read: the pixels are still good."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow -> mode RGB, transparency over white."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion clips at 255
        grey = np.asarray(image).astype(np.int64)
        grey = np.where(grey == image.info.get("transparency"), 65535, grey)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _middle(image: Image.Image, size: Size) -> NDArray[np.uint8]:
    """Halving with a box filter while the image is at least twice too large, then one bicubic step and the crop."""
    while covering(image, size) <= 0.5:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = covering(image, size)
    if image.width * scale * image.height * scale > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels: too narrow")
    return resize_middle(image, size)
