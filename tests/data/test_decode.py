"""Any image file becomes the square of RGB pixels that a person sees."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from d2it.data.decode import MAX_PIXELS, decode
from d2it.size import Size


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pattern(size: int = 16) -> NDArray[np.uint8]:
    """No two of its eight rotations and reflections are equal."""
    rows, columns = np.mgrid[:size, :size]
    return np.stack([rows * 15, columns * 15, (rows * columns) % 200], 2).astype(np.uint8)


UPRIGHT = {  # from the standard: on which side of the picture the file's first row and first column lie
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"PNG": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}[kind]
    square = decode(encoded(Image.fromarray(pattern()), kind, exif=exif, **options), Size.of(16))
    difference = square.pixels.astype(int) - UPRIGHT[orientation](pattern())
    assert np.abs(difference).mean() <= (2 if kind == "JPEG" else 0)


def test_damaged_exif_leaves_the_pixels_as_they_are() -> None:
    file = encoded(Image.fromarray(pattern()), exif=b"Exif\x00\x00garbage")
    np.testing.assert_array_equal(decode(file, Size.of(16)).pixels, pattern())


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette_images_show_their_colours(mode: str) -> None:
    image = Image.fromarray(pattern()).convert(mode)
    np.testing.assert_array_equal(decode(encoded(image), Size.of(16)).pixels, np.asarray(image.convert("RGB")))


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = (np.arange(256, dtype=np.uint32) * 257).astype(np.uint16).reshape(16, 16)
    pixels = decode(encoded(Image.fromarray(grey)), Size.of(16)).pixels
    np.testing.assert_array_equal(pixels, np.repeat(np.arange(256).reshape(16, 16, 1), 3, 2))


def test_transparent_16_bit_grey_shows_white() -> None:
    grey = np.full((8, 8), 1000, np.uint16)
    grey[0] = 40000
    pixels = decode(encoded(Image.fromarray(grey), transparency=1000), Size.of(8)).pixels
    assert (pixels[0] == 156).all()
    assert (pixels[1:] == 255).all()


def test_cmyk_is_the_colour_that_its_inks_print() -> None:
    inks = {(0, 255, 255, 0): (255, 0, 0), (255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0, 0, 0)}
    for cmyk, rgb in inks.items():
        pixels = decode(encoded(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100), Size.of(16)).pixels
        assert np.abs(pixels.astype(int) - rgb).max() <= 3


@given(alpha=st.integers(0, 255), colour=st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=30, deadline=None)
def test_transparency_lies_over_white(alpha: int, colour: tuple[int, int, int]) -> None:
    pixels = decode(encoded(Image.new("RGBA", (8, 8), (*colour, alpha))), Size.of(8)).pixels
    expected = np.array(colour) * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(pixels - expected).max() <= 1


def test_transparent_colour_of_a_palette_shows_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30, 40, 50, 60])
    image.putpixel((3, 2), 2)
    pixels = decode(encoded(image, transparency=1), Size.of(8)).pixels
    assert tuple(pixels[2, 3]) == (40, 50, 60)
    assert (np.delete(pixels.reshape(-1, 3), 2 * 8 + 3, 0) == 255).all()


@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_every_aspect_ratio_gives_a_square_with_no_foreign_colour(width: int, height: int, size: int) -> None:
    square = decode(encoded(Image.new("RGB", (width, height), (1, 2, 3))), Size.of(size))
    assert square.pixels.shape == (size, size, 3)
    assert (square.pixels == (1, 2, 3)).all()
    assert square.enlarged == (min(width, height) < size)


SIDES = st.integers(1, 300)


@given(photo=st.builds(Size, SIDES, SIDES), size=st.builds(Size, st.integers(1, 64), st.integers(1, 64)))
@settings(max_examples=60, deadline=None)
def test_every_aspect_ratio_gives_the_asked_size_and_never_a_border(photo: Size, size: Size) -> None:
    cropped = decode(encoded(Image.new("RGB", (photo.width, photo.height), (1, 2, 3))), size)
    assert cropped.pixels.shape == (*size, 3)
    assert (cropped.pixels == (1, 2, 3)).all()
    assert cropped.enlarged == (photo.height < size.height or photo.width < size.width)


@pytest.mark.parametrize(
    ("photo", "top", "left"),
    [(Size(16, 32), 0, 0), (Size(16, 200), 0, 84), (Size(101, 32), 42, 0), (Size(16, 33), 0, 0)],
)
def test_what_stands_out_is_cut_off_evenly_at_both_ends(photo: Size, top: int, left: int) -> None:
    """Photos that cover 16 x 32 pixels as they are: their middle comes back as it is."""
    pixels = np.random.default_rng(0).integers(0, 256, (*photo, 3), np.uint8)
    middle = decode(encoded(Image.fromarray(pixels)), Size(16, 32)).pixels
    np.testing.assert_array_equal(middle, pixels[top : top + 16, left : left + 32])


@pytest.mark.parametrize("turn", [False, True])
def test_crop_is_the_centre(turn: bool) -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (64, 200, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp.transpose(1, 0, 2) if turn else ramp))
    pixels = decode(encoded(image), Size.of(64)).pixels[..., 0]
    np.testing.assert_array_equal(pixels[:, 0] if turn else pixels[0], np.arange(68, 132))


@pytest.mark.parametrize("side", [110, 120, 160, 250, 511, 1024])
def test_fine_checkerboard_becomes_even_grey(side: int) -> None:
    board = np.indices((side, side)).sum(0) % 2 * np.uint8(255)
    pixels = decode(encoded(Image.fromarray(board.astype(np.uint8))), Size.of(64)).pixels[4:-4, 4:-4].astype(float)
    assert pixels.std() < 8
    assert abs(pixels.mean() - 127.5) < 2


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert (decode(file, Size.of(8)).pixels == (255, 0, 0)).all()


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"no image",
        encoded(Image.fromarray(pattern()))[:-60],
        encoded(Image.fromarray(pattern(64)), "JPEG")[:300],
        encoded(Image.fromarray(pattern()), "PPM"),
        encoded(Image.new("1", (1, 60_000))),
        encoded(Image.new("1", (14_000, 14_000))),
    ],
    ids=["empty", "text", "short png", "short jpeg", "ppm", "hair", "bomb"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unusable_file_is_an_error_of_one_line(file: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        decode(file, Size.of(64))
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), height=st.integers(1, 70), width=st.integers(1, 70), quality=st.integers(1, 100),
    subsampling=st.integers(0, 2), progressive=st.booleans(), grey=st.booleans(), restart=st.integers(0, 1),
)  # fmt: skip
def test_a_jpegs_pixels_are_pillows(
    seed: int, height: int, width: int, quality: int, subsampling: int, progressive: bool, grey: bool, restart: int
) -> None:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8)).convert("L" if grey else "RGB")
    options = {} if grey else {"subsampling": subsampling}
    file = encoded(image, "JPEG", quality=quality, progressive=progressive, restart_marker_rows=restart, **options)
    size = min(height, width)
    with Image.open(io.BytesIO(file)) as opened:
        left, top = (width - size) // 2, (height - size) // 2
        expected = np.asarray(opened.convert("RGB"))[top : top + size, left : left + size]
    np.testing.assert_array_equal(decode(file, Size.of(size)).pixels, expected)


@pytest.mark.parametrize("damage", ["zeros", "end"])
@pytest.mark.parametrize("seed", range(5))
def test_a_jpeg_damaged_in_the_middle_is_refused_where_pillow_shows_garbage(damage: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    file = bytearray(encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)), "JPEG", quality=90))
    start = int(rng.integers(1000, len(file) - 700))
    if damage == "zeros":
        file[start : start + 512] = bytes(512)
    else:
        file[start:] = b"\xff\xd9"  # the marker of the end, too early
    with Image.open(io.BytesIO(file)) as opened:
        opened.load()
    with pytest.raises(ValueError, match="JPEG"):
        decode(bytes(file), Size.of(32))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    file = encoded(Image.new("1", (13_000, 13_000)))
    with pytest.raises(ValueError, match="13000 x 13000 pixels: must be at most 134 million"):
        decode(file, Size.of(16))


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "gigabytes"), [("JPEG", "RGB", 1.0), ("PNG", "RGB", 1.0), ("PNG", "RGBA", 1.6)]
)
def test_the_largest_image_takes_the_memory_that_is_stated(
    tmp_path: Path, kind: str, mode: str, gigabytes: float
) -> None:
    side = int(MAX_PIXELS**0.5)
    Image.new(mode, (side, side)).save(tmp_path / "file", kind)
    code = (
        "import resource, sys; from d2it.data.decode import decode; from d2it.size import Size; "
        "file = open(sys.argv[1], 'rb').read(); "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; decode(file, Size.of(64)); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    kilobytes = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert kilobytes / 1e6 < 1.05 * gigabytes
