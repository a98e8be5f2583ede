"""Pictures of samples: class by class, the tokens that each region took, and how they come out of noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from d2it import pictures
from d2it.size import Size

CLASSES, EACH = 12, 5  # rows, and samples in a row, of the picture by class
FONT_SIZE = 14


def rows_by_class(labels: NDArray[np.int64], classes: int = CLASSES, each: int = EACH) -> list[NDArray[np.int64]]:
    """The first `each` samples of every class, by number; of at most `classes` classes, evenly spread.

    Of a single class as many rows of samples as there would be classes.
    """
    present = np.unique(labels)
    if len(present) == 1:
        return [np.arange(i, min(i + each, len(labels))) for i in range(0, min(classes * each, len(labels)), each)]
    shown = present[np.linspace(0, len(present) - 1, min(classes, len(present))).round().astype(int)]
    return [np.flatnonzero(labels == label)[:each] for label in shown]


def by_class(
    images: Sequence[NDArray[np.uint8]], maps: Sequence[NDArray[np.uint8]], captions: Sequence[str], grains: int
) -> NDArray[np.uint8]:
    """A row for each class: samples (n, H, W, 3) on the left, the same with their grain maps (n, h, w) on the right."""
    plain = [pictures.enlarge(row, pictures.legible(row)) for row in images]
    overlaid = [pictures.overlay(row, of_row, grains) for row, of_row in zip(plain, maps, strict=True)]
    return side_by_side(plain, overlaid, captions, ("samples", "grain maps"))


def side_by_side(
    left: Sequence[NDArray[np.uint8]], right: Sequence[NDArray[np.uint8]], captions: Sequence[str],
    heads: tuple[str, str],
) -> NDArray[np.uint8]:  # fmt: skip
    """Two blocks of pictures with a head each; a row of both, (n, H, W, 3) and n may differ, has one caption."""
    most = max(len(row) for row in (*left, *right))

    def padded(row: NDArray[np.uint8]) -> NDArray[np.uint8]:
        blank = np.full((most - len(row), *row.shape[1:]), 255, np.uint8)
        return pictures.enlarge(np.concatenate([row, blank]), pictures.legible(row))

    rows = [np.concatenate([padded(one), padded(other)]) for one, other in zip(left, right, strict=True)]
    return pictures.grid(rows, captions, [heads[0], *[""] * (most - 1), heads[1]])


def tokens_of_grain(copies: Sequence[int]) -> list[int]:
    """Transformer tokens that a region of each grain takes, coarsest first: the backbone's, and each RefineNet's.

    `copies`: finest codes along a region's side for one code of each grain, coarsest first: [2, 1].
    """
    return [1 + sum((copies[0] // finer) ** 2 for finer in copies[1 : grain + 1]) for grain in range(len(copies))]


def tokens(images: NDArray[np.uint8], maps: NDArray[np.uint8], copies: Sequence[int]) -> NDArray[np.uint8]:
    """Samples (n, H, W, 3) above the tokens of each of their regions, by maps (n, h, w), and of the whole image."""
    images = pictures.enlarge(images, pictures.legible(images))
    (_, H, W, _), (_, h, w), each = images.shape, maps.shape, tokens_of_grain(copies)
    font = ImageFont.load_default(min(FONT_SIZE, H // h))
    counted = []
    for flat, of_image in zip(pictures.grain_map_pictures(maps, len(copies), Size(H, W)), maps, strict=True):
        canvas = Image.fromarray(flat)
        draw = ImageDraw.Draw(canvas)
        for (row, column), grain in np.ndenumerate(of_image):
            middle = ((column + 0.5) * W / w, (row + 0.5) * H / h)
            draw.text(middle, str(each[grain]), "white", font, anchor="mm")
        counted.append(np.asarray(canvas))
    totals = [int(np.array(each)[of_image].sum()) for of_image in maps]
    return pictures.grid(
        [images, np.stack(counted)], ["sample", "tokens"], [f"{n} of {each[-1] * h * w}" for n in totals]
    )


def film(steps: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Predictions of the same images (frames, n, H, W, 3) -> frames, each about as wide as high."""
    steps = pictures.enlarge(steps, pictures.legible(steps))
    _, n, H, W, _ = steps.shape
    columns = max(1, round((n * H / W) ** 0.5))
    return [pictures.grid([frame[i : i + columns] for i in range(0, len(frame), columns)]) for frame in steps]
