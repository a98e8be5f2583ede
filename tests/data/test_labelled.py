"""Halves and labels that a data set gives itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2it.data.imageset import DataError
from d2it.data.labelled import Labelled, Rules, by_number, lay_out
from d2it.data.layout import NEITHER_HALF, NO_LABEL

ROWS = st.lists(
    st.tuples(st.sampled_from(["", "train", "training", "val", "test"]), st.integers(-1, 5)), min_size=1, max_size=30
)


def labelled(rows: list[tuple[str, int]]) -> Labelled:
    return Labelled(
        names=[f"{half}/{row}" for row, (half, _) in enumerate(rows)], halves=[half for half, _ in rows],
        labels=np.array([label for _, label in rows], np.int64), classes=list("cabfde"),
    )  # fmt: skip


@given(
    rows=ROWS, share=st.floats(0, 0.99), seed=st.integers(0, 9), splits=st.booleans(), labels=st.booleans(),
)  # fmt: skip
def test_every_image_is_in_one_half_or_left_out_and_labels_are_the_training_classes(
    rows: list[tuple[str, int]], share: float, seed: int, splits: bool, labels: bool
) -> None:
    images = labelled(rows)
    try:
        layout = lay_out(images, Rules(share, seed, splits, labels))
    except DataError:
        assert splits
        return
    left_out = [name for of_reason in layout.left_out.values() for name in of_reason]
    assert sorted([*layout.train.names, *layout.validation.names, *left_out]) == sorted(images.names)
    assert set(layout.train.labels) == set(range(len(layout.classes)))
    assert set(layout.validation.labels) <= {NO_LABEL, *range(len(layout.classes))}
    if labels and any(label >= 0 for _, label in rows):
        assert layout.classes == [name for name in "cabfde" if name in layout.classes]
        for name, label in zip(layout.train.names, layout.train.labels, strict=True):
            assert layout.classes[label] == "cabfde"[rows[images.names.index(name)][1]]


@pytest.mark.parametrize(
    ("held_out", "chosen"), [(["val", "test"], "val"), (["test"], "test"), (["validation", "dev"], "validation")]
)
def test_the_first_kind_of_held_out_images_validates(held_out: list[str], chosen: str) -> None:
    layout = lay_out(labelled([("train", 0), *((half, 0) for half in held_out)]), Rules(0.5, 0))
    assert [name.partition("/")[0] for name in layout.validation.names] == [chosen]
    assert len(layout.left_out.get(NEITHER_HALF, [])) == len(held_out) - 1


def test_numbers_are_classes_in_their_order() -> None:
    labels, classes = by_number(np.array([10, -1, 2, 10]))
    assert (labels.tolist(), classes) == ([1, -1, 0, 1], ["2", "10"])
    assert by_number(np.array([3]))[1] == ["3"]
