"""Splits and classes follow from file names alone."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2it.data.imageset import DataError
from d2it.data.layout import NEITHER_HALF, NO_FOLDER, NO_LABEL, Layout, class_names, read_layout

FOLDERS = st.sampled_from(
    ["cat", "Cat", "dog", "small", "train", "val", "test", "training", "images", "train2017", "x"]
)
NAMES = st.lists(
    st.tuples(st.lists(FOLDERS, max_size=4), st.integers(0, 9)).map(lambda of: "/".join([*of[0], f"{of[1]}.png"])),
    unique=True, max_size=30,
)  # fmt: skip


def labelled(layout: Layout) -> list[dict[str, str | None]]:
    """Class of each training and each validation image."""
    return [
        {
            name: None if label == NO_LABEL else layout.classes[label]
            for name, label in zip(half.names, half.labels, strict=True)
        }
        for half in (layout.train, layout.validation)
    ]


@pytest.mark.parametrize("root", ["", "set/", "ILSVRC/Data/CLS-LOC/"])
@pytest.mark.parametrize(
    "train", ["train", "Training", "train2017", "ILSVRC2012_img_train", "trainset", "train-images"]
)
@pytest.mark.parametrize("validation", ["validation", "val", "Val2017", "valid", "dev", "test", "testing", "test_set"])
def test_a_training_and_a_validation_folder_are_the_split(root: str, train: str, validation: str) -> None:
    names = [f"{root}{train}/cat/1.jpg", f"{root}{train}/dog/1.jpg", f"{root}{validation}/cat/2.jpg"]
    layout = read_layout(names, 0.5, 0)
    assert labelled(layout) == [{names[0]: "cat", names[1]: "dog"}, {names[2]: "cat"}]
    assert layout.left_out == {}


def test_what_lies_beside_the_halves_is_left_out() -> None:
    names = ["1.jpg", "extra/1.jpg", "test/a/2.jpg", "train/a/3.jpg", "val/a/4.jpg"]
    layout = read_layout(names, 0.5, 0)
    assert (layout.train.names, layout.validation.names) == (names[3:4], names[4:])
    assert layout.left_out == {NEITHER_HALF: names[:3]}
    more = read_layout([*names, "extra/test/5.jpg"], 0.5, 0)
    assert more.left_out == {NEITHER_HALF: sorted([*names[:3], "extra/test/5.jpg"])}


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.jpg", "car/2.jpg"],
        ["car/1.jpg", "test/2.jpg"],
        ["a/train/1.jpg", "b/val/2.jpg"],
        ["a/b/training/1.jpg", "a/b/testing/2.jpg", "c/3.jpg"],
        ["val/a/1.jpg", "test/a/2.jpg"],
        ["train/a/1.jpg", "train/a/test/2.jpg", "val/a/1.jpg"],
        ["train/a/1.jpg", "1.jpg"],
    ],
)
def test_a_folder_that_looks_like_a_split_and_is_none_stops_unless_no_folder_is_one(names: list[str]) -> None:
    with pytest.raises(DataError, match="looks like a split") as error:
        read_layout(names, 0.5, 0)
    assert "\n" not in str(error.value)
    layout = read_layout(names, 0.5, 0, splits=False)
    assert sorted(layout.train.names + layout.validation.names + layout.left_out.get(NO_FOLDER, [])) == sorted(names)


@pytest.mark.parametrize("folder", ["test tube", "bullet_train", "train station", "developer", "evaluate"])
def test_a_class_whose_name_holds_the_word_of_a_split_is_a_class(folder: str) -> None:
    layout = read_layout([f"{folder}/1.jpg", "car/2.jpg"], 0, 0)
    assert layout.classes == sorted([folder, "car"])


def test_two_folders_of_the_same_half_stop() -> None:
    with pytest.raises(DataError, match="train2014, train2017"):
        read_layout(["train2014/1.jpg", "train2017/2.jpg", "val2017/3.jpg"], 0, 0)


def test_copies_of_ffhq_stop() -> None:
    names = ["images1024x1024/00000/00000.png", "thumbnails128x128/00000/00000.png"]
    with pytest.raises(DataError, match="same photos"):
        read_layout([f"ffhq/{name}" for name in names], 0, 0)
    assert len(read_layout(names[:1], 0, 0, labels=False).train.names) == 1


@pytest.mark.parametrize("root", ["", "ffhq/images1024x1024/", "thumbnails128x128/"])
@pytest.mark.parametrize("folders", [["00000"], ["00000", "01000", "69000"]])
def test_ffhqs_folders_of_a_thousand_photos_are_no_classes(root: str, folders: list[str]) -> None:
    names = [f"{root}{folder}/{int(folder) + number:05d}.png" for folder in folders for number in (0, 1, 999)]
    layout = read_layout(names, 0, 0)
    assert (layout.classes, layout.train.labels, layout.left_out) == (["images"], [0] * len(names), {})
    (remark,) = layout.remarks
    assert names[0] in remark
    assert set(class_names(names)) == {"images"}
    halves = [f"train/{name}" for name in names] + ["val/00000/00001.png"]
    assert (read_layout(halves, 0, 0).classes, read_layout(halves, 0, 0).validation.labels) == (["images"], [0])


@pytest.mark.parametrize(
    "names",
    [
        [f"{digit}/{number:05d}.png" for digit in range(10) for number in range(2)],
        [f"{digit:05d}/{number:05d}.png" for digit in range(10) for number in range(2)],
        ["00000/00001.png", "01000/00002.png"],
        ["00000/00001.png", "cat/00002.png"],
    ],
)
def test_classes_that_are_numbers_are_classes(names: list[str]) -> None:
    layout = read_layout(names, 0, 0)
    assert layout.classes == sorted({name.partition("/")[0] for name in names})
    assert layout.remarks == []


def test_validation_images_without_a_training_class_have_no_label_and_shift_none() -> None:
    """ImageNet as downloaded: a flat `val`."""
    names = ["train/n01/1.JPEG", "train/n02/2.JPEG", "val/aardvark/3.JPEG", "val/n02/4.JPEG"]
    layout = read_layout(names, 0, 0)
    assert layout.classes == ["n01", "n02"]
    assert labelled(layout)[1] == {names[2]: None, names[3]: "n02"}
    flat = read_layout([*names[:2], "val/3.JPEG"], 0, 0)
    assert (flat.classes, flat.validation.labels) == (["n01", "n02"], [NO_LABEL])
    assert "1 validation images" in flat.remarks[0]


def test_a_validation_folder_of_one_class_keeps_the_class() -> None:
    layout = read_layout(["train/cat/small/1.jpg", "train/dog/2.jpg", "val/cat/small/3.jpg"], 0, 0)
    assert labelled(layout) == [
        {"train/cat/small/1.jpg": "cat", "train/dog/2.jpg": "dog"},
        {"val/cat/small/3.jpg": "cat"},
    ]
    assert "val" not in layout.classes


def test_a_class_that_was_held_out_whole_is_none_of_the_training_classes() -> None:
    layout = read_layout([f"{i}/1.jpg" for i in range(10)], 0.5, 0)
    assert len(layout.classes) == 5
    assert layout.train.labels == [0, 1, 2, 3, 4]
    assert layout.validation.labels == [NO_LABEL] * 5


@pytest.mark.parametrize(
    ("names", "classes", "left_out"),
    [
        (["1.jpg", "2.jpg"], ["images", "images"], []),
        (["cat/1.jpg", "cat/2.jpg"], ["cat", "cat"], []),
        (["1.jpg", "cat/2.jpg"], ["cat"], ["1.jpg"]),
        (["pets/cat/small/1.jpg", "pets/dog/2.jpg"], ["cat", "dog"], []),
        (["a/b/c/cat/1.jpg", "a/b/c/dog/2.jpg"], ["cat", "dog"], []),
        (["a/Cat/1.jpg", "a/cat/2.jpg"], ["Cat", "cat"], []),
    ],
)
def test_class_is_the_first_folder_below_those_that_hold_everything(
    names: list[str], classes: list[str], left_out: list[str]
) -> None:
    layout = read_layout(names, 0, 0)
    assert list(labelled(layout)[0].values()) == classes
    assert layout.left_out.get(NO_FOLDER, []) == left_out
    assert class_names(names)[-len(classes) :] == classes


def test_what_may_surprise_is_a_remark() -> None:
    (nested,) = read_layout(["cat/small/1.jpg", "dog/2.jpg"], 0, 0).remarks
    assert "cat/small/1.jpg is of class cat" in nested
    (alike,) = read_layout(["Cat/1.jpg", "cat/2.jpg", "dog/3.jpg"], 0, 0).remarks
    assert "Cat, cat" in alike


def test_without_labels_all_images_are_of_one_class_and_none_is_left_out() -> None:
    layout = read_layout(["1.jpg", "cat/2.jpg", "dog/3.jpg"], 0, 0, labels=False)
    assert (layout.train.names, layout.train.labels, layout.left_out) == (
        ["1.jpg", "cat/2.jpg", "dog/3.jpg"],
        [0] * 3,
        {},
    )


@given(names=NAMES, share=st.floats(0, 0.99), seed=st.integers(0, 9), splits=st.booleans(), labels=st.booleans())
def test_every_image_is_in_one_half_or_left_out_and_labels_are_the_training_classes(
    names: list[str], share: float, seed: int, splits: bool, labels: bool
) -> None:
    try:
        layout = read_layout(names, share, seed, splits=splits, labels=labels)
    except DataError:
        assert splits
        return
    left_out = [name for of_reason in layout.left_out.values() for name in of_reason]
    assert sorted([*layout.train.names, *layout.validation.names, *left_out]) == sorted(names)
    assert set(layout.train.labels) == set(range(len(layout.classes)))
    assert set(layout.validation.labels) <= {NO_LABEL, *range(len(layout.classes))}
    assert layout.classes == sorted(set(layout.classes))
    if labels:
        for of_half in labelled(layout):
            assert all(class_ in (None, "images", *PurePosixPath(name).parts[:-1]) for name, class_ in of_half.items())


@given(count=st.integers(1, 60), share=st.floats(0, 0.99), seed=st.integers(0, 9), order=st.randoms())
def test_held_out_share_is_a_partition_that_ignores_the_order_of_files(
    count: int, share: float, seed: int, order: object
) -> None:
    names = [f"{i:03d}.png" for i in range(count)]
    shuffled = list(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    layout = read_layout(shuffled, share, seed)
    assert layout == read_layout(names, share, seed)
    for half in (layout.train, layout.validation):
        assert half.names == sorted(half.names)
    assert len(layout.validation.names) == (max(1, round(share * count)) if share > 0 else 0)


def test_another_seed_holds_out_other_images() -> None:
    names = [f"{i}.png" for i in range(100)]
    assert read_layout(names, 0.2, 0).validation != read_layout(names, 0.2, 1).validation
