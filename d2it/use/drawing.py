"""What a page asks of a trained model: one image, where its detail goes, and what that costs."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from d2it.errors import UserError
from d2it.grain.codes import copies_per_side
from d2it.sample_pictures import tokens_of_grain
from d2it.size import Size
from d2it.use.model import D2iT
from d2it.use.photos import middle

Detail = Literal["model", "ratio", "photo", "painted"]  # who says where it goes


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One image that somebody wants."""

    label: int = 0
    seed: int = 0
    guidance: float | None = None  # the model's own
    steps: int | None = None  # the model's own
    detail: Detail = "model"
    fine_ratio: float = 0.5  # for `ratio` and `photo`
    painted: str = ""  # for `painted`; see `map_text`
    photo: Path | None = None  # for `photo`


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An image, the grain map (h, w) uint8 that it was drawn on, and the seconds that it took, its map included."""

    image: Image.Image
    grain_map: NDArray[np.uint8]
    seconds: float


def draw(model: D2iT, wish: Wish) -> Drawing:
    """Draw what is wished for.

    Raises:
        UserError: something cannot be used; one line says what is allowed.
    """
    start = time.perf_counter()
    drawn = model.sample(
        [wish.label], [wish.seed], grain_maps=_own_map(model, wish),
        fine_ratio=wish.fine_ratio if wish.detail == "ratio" else None,
        guidance=wish.guidance, steps=wish.steps, progress=False,
    )  # fmt: skip
    return Drawing(image=drawn.images[0], grain_map=drawn.grain_maps[0], seconds=time.perf_counter() - start)


def _own_map(model: D2iT, wish: Wish) -> NDArray[np.uint8] | None:
    if wish.detail == "painted":
        return map_of_text(wish.painted, model.region_grid, model.grain.grains)
    if wish.detail == "photo":
        return map_of_photo(model, wish.photo, wish.fine_ratio)[1]
    return None


def map_of_photo(model: D2iT, photo: Path | None, fine_ratio: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The middle of a photo as the model sees it, (H, W, 3) uint8, and its grain map (h, w).

    Of a model with two grains the map has as many fine regions as `fine_ratio` says, the busiest ones; of others the
    training set's thresholds decide.

    Raises:
        UserError: there is no photo, or it cannot be read.
    """
    if photo is None:
        raise UserError("no photo yet: drop one, or choose another grain map")
    try:
        pixels = middle(photo, model.image_size)
    except UserError as error:  # the file lies in a folder for uploads, which nobody knows
        raise UserError(str(error).replace(str(photo), photo.name)) from None
    return pixels, model.grain_map(pixels, fine_ratio=fine_ratio if model.grain.grains == 2 else None)


def map_text(grain_map: NDArray[np.integer]) -> str:
    """A grain map (h, w) as a page holds it: a digit for each region, row by row."""
    return "".join(str(grain) for grain in grain_map.flat)


def map_of_text(text: str, size: Size, grains: int) -> NDArray[np.uint8]:
    """The inverse of `map_text`: (h, w) uint8, of `size`.

    Raises:
        UserError: not as many digits as there are regions, or a grain that the model does not have.
    """
    digits = [int(digit) if digit in "0123456789" else grains for digit in text]
    if len(digits) != size.area or max(digits) >= grains:
        raise UserError(f"painted map {text[:20]!r}: must be {size.area} digits, 0 (coarsest) to {grains - 1}")
    return np.array(digits, np.uint8).reshape(size)


def tokens_per_region(model: D2iT) -> list[int]:
    """Transformer tokens that a region of each grain takes, coarsest first."""
    return tokens_of_grain(copies_per_side(model.dvae.factors))


def describe(model: D2iT, drawing: Drawing) -> str:
    """Seconds, tokens and the share of each grain but the coarsest, in one line."""
    each = np.array(tokens_per_region(model))
    regions = drawing.grain_map.size
    tokens, most = int(each[drawing.grain_map].sum()), int(each[-1] * regions)
    fine = int((drawing.grain_map == len(each) - 1).sum())
    return f"{drawing.seconds:.2f} s · {tokens} of {most} tokens · {fine} of {regions} regions fine"
