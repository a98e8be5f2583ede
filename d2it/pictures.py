"""Pictures to look at: photos with their grain map, and grids with captions. All uint8, RGB."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from d2it.size import Size

COARSE, MIDDLE, FINE = (40, 90, 255), (250, 210, 40), (255, 40, 30)
TINT, BORDER = 0.25, 0.65  # opacity inside a region, and on its border
LEGIBLE = 128  # pixels that a shown photo should have at least, in height and in width
GUTTER = 4  # pixels between pictures
FONT_SIZE = 12


def grain_colours(grains: int) -> NDArray[np.float32]:
    """Colour of each grain, (grains, 3) in [0, 255]: coarsest blue, finest red, yellow half-way."""
    place = np.linspace(0, 1, grains)
    stops = np.array([COARSE, MIDDLE, FINE])
    return np.stack([np.interp(place, [0, 0.5, 1], channel) for channel in stops.T], 1).astype(np.float32)


def enlarge(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Each pixel of (..., H, W, 3) as `scale` x `scale` pixels."""
    return images.repeat(scale, -3).repeat(scale, -2)


def legible(images: NDArray[np.uint8]) -> int:
    """How many times images (..., H, W, 3) are enlarged to be looked at."""
    smaller: int = min(images.shape[-3:-1])
    return max(1, LEGIBLE // smaller)


def grain_map_pictures(grain_maps: NDArray[np.uint8], grains: int, size: Size) -> NDArray[np.uint8]:
    """Flat colours: maps (B, h, w) of grains 0..grains-1 -> (B, *size, 3); (h, w) divides `size`."""
    _, h, w = grain_maps.shape
    if size.height % h or size.width % w:
        raise ValueError(f"size {size}: must be a multiple of the grain map's {h} x {w}")
    regions = grain_maps.repeat(size.height // h, 1).repeat(size.width // w, 2)
    return grain_colours(grains)[regions].round().astype(np.uint8)


def frequency_pictures(frequency: NDArray[np.floating], size: Size) -> NDArray[np.uint8]:
    """How often a region is fine, (B, h, w) in [0, 1], from never, blue, to always, red -> (B, *size, 3)."""
    _, h, w = frequency.shape
    share = frequency.repeat(size.height // h, 1).repeat(size.width // w, 2)[..., None]
    mixed: NDArray[np.floating] = np.array(COARSE) * (1 - share) + np.array(FINE) * share
    return mixed.round().astype(np.uint8)


def overlay(images: NDArray[np.uint8], grain_maps: NDArray[np.uint8], grains: int) -> NDArray[np.uint8]:
    """Photos (B, H, W, 3) tinted by their grain maps (B, h, w), with a line along each region's edges.

    The line is one pixel wide: enlarge small images first.
    """
    _, H, W, _ = images.shape
    _, h, w = grain_maps.shape
    if H % h or W % w:
        raise ValueError(f"images {H} x {W}: must be multiples of the grain map's {h} x {w}")
    colours = grain_colours(grains)[grain_maps.repeat(H // h, 1).repeat(W // w, 2)]  # (B, H, W, 3)
    row, column = np.arange(H) % (H // h), np.arange(W) % (W // w)
    edge = (row == 0)[:, None] | (row == H // h - 1)[:, None] | (column == 0) | (column == W // w - 1)
    opacity = np.where(edge, BORDER, TINT).astype(np.float32)[..., None]  # (H, W, 1)
    return (images * (1 - opacity) + colours * opacity).round().astype(np.uint8)


def grid(
    rows: Sequence[NDArray[np.uint8]],
    row_captions: Sequence[str] = (),
    column_captions: Sequence[str] = (),
    scale: int = 1,
) -> NDArray[np.uint8]:
    """Rows of pictures (n, H, W, 3) -> one picture (H', W', 3) on white, each pixel enlarged `scale` times.

    All pictures have one size; rows may differ in number. Captions stand left of rows and above columns.

    Raises:
        ValueError: no rows, or pictures of different sizes.
    """
    if not rows or len({row.shape[1:] for row in rows}) != 1:
        raise ValueError(f"rows {[row.shape for row in rows]}: need one size (n, H, W, 3)")
    H, W = rows[0].shape[1] * scale, rows[0].shape[2] * scale
    columns = max(len(row) for row in rows)
    font = ImageFont.load_default(FONT_SIZE)
    left = GUTTER + max((int(font.getlength(text)) + 2 * GUTTER for text in row_captions), default=0)
    top = GUTTER + (FONT_SIZE + GUTTER if column_captions else 0)
    canvas = Image.new("RGB", (left + columns * (W + GUTTER), top + len(rows) * (H + GUTTER)), "white")
    draw = ImageDraw.Draw(canvas)
    for column, text in enumerate(column_captions):
        draw.text((left + column * (W + GUTTER) + W // 2, top // 2), text, "black", font, anchor="mm")
    for i, row in enumerate(rows):
        y = top + i * (H + GUTTER)
        if i < len(row_captions):
            draw.text((left - GUTTER, y + H // 2), row_captions[i], "black", font, anchor="rm")
        for column, picture in enumerate(enlarge(row, scale)):
            canvas.paste(Image.fromarray(picture), (left + column * (W + GUTTER), y))
    return np.asarray(canvas)


def histogram(
    values: NDArray[np.floating], caption: str, marks: Sequence[tuple[float, str]] = (), width: int = 512
) -> NDArray[np.uint8]:
    """How often each value occurs, from 0 to the largest, as bars; `marks` are (value, text) lines across them."""
    bars, height, room = 128, width // 3, 2 * (FONT_SIZE + GUTTER)
    top = float(values.max()) or 1.0
    counts, _ = np.histogram(values, bars, (0.0, top))
    canvas = Image.new("RGB", (width + 2 * GUTTER, height + 2 * room), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(FONT_SIZE)
    for bar, count in enumerate(counts):
        x0, x1 = GUTTER + bar * width // bars, GUTTER + (bar + 1) * width // bars - 1
        length = round(height * count / counts.max())
        if length:
            draw.rectangle((x0, room + height - length, x1, room + height - 1), fill=(120, 120, 120))
    for value, text in marks:
        x = GUTTER + round(width * value / top)
        draw.line((x, room, x, room + height), fill=FINE)
        draw.text((min(max(x, 20), width - 20), room - GUTTER), text, FINE, font, anchor="ms")
    draw.text((GUTTER, room + height + GUTTER), "0", "black", font, anchor="la")
    draw.text((GUTTER + width, room + height + GUTTER), f"{top:.2f}", "black", font, anchor="ra")
    draw.text((GUTTER + width // 2, room + height + GUTTER), caption, "black", font, anchor="ma")
    return np.asarray(canvas)


def save_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write (H, W, 3)."""
    Image.fromarray(picture).save(path, format="PNG")


def save_gif(path: Path, frames: Sequence[NDArray[np.uint8]], seconds: float, pause: float) -> None:
    """Write pictures (H, W, 3) as a film that lasts `seconds`, shows the last one for `pause` more, and starts over."""
    images = [Image.fromarray(frame).quantize(128, dither=Image.Dither.NONE) for frame in frames]
    each = round(1000 * seconds / len(images))  # milliseconds
    durations = [each] * (len(images) - 1) + [each + round(1000 * pause)]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
