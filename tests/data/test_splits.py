"""Class and split follow from file names alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2it.data.splits import class_names, split_names


@pytest.mark.parametrize("root", ["", "set/"])
@pytest.mark.parametrize("validation", ["validation", "val", "valid", "test", "Val"])
def test_folders_named_train_and_validation_are_the_split(root: str, validation: str) -> None:
    names = [f"{root}train/cat/1.jpg", f"{root}train/dog/1.jpg", f"{root}{validation}/cat/2.jpg"]
    assert split_names(names, 0.5, 0) == (names[:2], names[2:], [])
    assert class_names(names) == ["cat", "dog", "cat"]


def test_test_folder_and_others_are_unused_where_there_is_validation() -> None:
    names = ["extra/1.jpg", "test/a/2.jpg", "train/a/3.jpg", "val/a/4.jpg"]
    assert split_names(names, 0.5, 0) == (["train/a/3.jpg"], ["val/a/4.jpg"], ["extra/1.jpg", "test/a/2.jpg"])


@pytest.mark.parametrize("names", [["train/a/1.jpg", "train/b/2.jpg"], ["a/train/1.jpg", "b/val/2.jpg"]])
def test_split_folders_need_both_halves_at_the_top(names: list[str]) -> None:
    train, validation, unused = split_names(names, 0.5, 0)
    assert (sorted(train + validation), len(validation), unused) == (names, 1, [])


@given(count=st.integers(1, 60), share=st.floats(0, 0.99), seed=st.integers(0, 9), order=st.randoms())
def test_held_out_share_is_a_partition_that_ignores_the_order_of_files(
    count: int, share: float, seed: int, order: object
) -> None:
    names = [f"{i:03d}.png" for i in range(count)]
    shuffled = list(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    split = split_names(shuffled, share, seed)
    assert split == split_names(names, share, seed)
    assert sorted(split.train + split.validation) == names
    assert split.train == sorted(split.train)
    assert split.validation == sorted(split.validation)
    assert len(split.validation) == (max(1, round(share * count)) if share > 0 else 0)


def test_another_seed_holds_out_other_images() -> None:
    names = [f"{i}.png" for i in range(100)]
    assert split_names(names, 0.2, 0).validation != split_names(names, 0.2, 1).validation


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["1.jpg", "2.jpg"], ["images", "images"]),
        (["cat/1.jpg", "cat/2.jpg"], ["cat", "cat"]),
        (["1.jpg", "cat/2.jpg"], ["images", "cat"]),
        (["pets/small/cat/1.jpg", "pets/dog/2.jpg"], ["cat", "dog"]),
        (["train/1.jpg", "val/2.jpg"], ["images", "images"]),
        (["set/train/1.jpg", "set/val/cat/2.jpg"], ["images", "cat"]),
        (["train/1.jpg", "other/2.jpg"], ["train", "other"]),
    ],
)
def test_class_is_the_folder_that_holds_the_image(names: list[str], classes: list[str]) -> None:
    assert class_names(names) == classes
