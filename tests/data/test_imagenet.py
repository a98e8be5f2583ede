"""ImageNet as downloaded is ImageNet with its validation images in the folders of their classes."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import imagenet

from d2it.data.imageset import DataError, Source
from d2it.data.sources import open_images
from tests.data.formats import tar_of_tars
from tests.data.test_sources import SIZE, as_folder, as_tar, as_zip, files, one_line, photo, write

WNIDS = ["n01440764", "n02085620", "n04591713"]
TRAIN = {
    f"{wnid}/{wnid}_{number}.JPEG": photo(10 * row + number) for row, wnid in enumerate(WNIDS) for number in range(3)
}
VAL = {f"ILSVRC2012_val_{number:08d}.JPEG": photo(100 + number) for number in range(1, 6)}
TRUTH = dict(zip(VAL, ["n02085620", "n01440764", "n04591713", "n01440764", "n01440764"], strict=True))
Truth = Callable[[], dict[str, bytes]]


def solution() -> dict[str, bytes]:
    rows = [f"{name.removesuffix('.JPEG')},{wnid} 70 85 415 310 {wnid} 1 2 3 4 " for name, wnid in TRUTH.items()]
    return {"LOC_val_solution.csv": "\n".join(["ImageId,PredictionString", *reversed(rows)]).encode()}


def synsets(name: str = "imagenet_2012_validation_synset_labels.txt") -> dict[str, bytes]:
    return {name: "\n".join(TRUTH.values()).encode() + b"\n"}


def val_labels() -> dict[str, bytes]:
    return synsets("val_labels.txt")


def kit_files() -> dict[str, bytes]:
    """The development kit's: numbers that are not the order of the names, and nodes above the classes."""
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O"),
              ("children", "O"), ("wordnet_height", "O"), ("num_train_images", "O")]  # fmt: skip
    ids = {"n02085620": 1, "n04591713": 2, "n01440764": 3, "n00001740": 4}
    table = np.array(
        [(number, wnid, "words", "gloss", int(wnid == "n00001740"), [[]], 0, 3) for wnid, number in ids.items()], fields
    )
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": table.reshape(-1, 1)})
    lines = "".join(f"{ids[wnid]}\n" for wnid in TRUTH.values())
    folder = "ILSVRC2012_devkit_t12"
    return {
        f"{folder}/data/ILSVRC2012_validation_ground_truth.txt": lines.encode(),
        f"{folder}/data/meta.mat": meta.getvalue(),
        f"{folder}/readme.txt": b"text",
    }


def kit() -> dict[str, bytes]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in kit_files().items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return {"ILSVRC2012_devkit_t12.tar.gz": gzip.compress(file.getvalue())}


TRUTHS = [solution, synsets, val_labels, kit, kit_files]


def opened(path: Path, **options: bool) -> Source:
    return open_images(path, SIZE, 0, 0, **options)


def in_folders(path: Path) -> Source:
    val = {f"val/{TRUTH[name]}/{name}": data for name, data in VAL.items()}
    return opened(as_folder(path, {f"train/{name}": data for name, data in TRAIN.items()} | val))


def flat(train: str = "train/", val: str = "val/") -> dict[str, bytes]:
    return {train + name: data for name, data in TRAIN.items()} | {val + name: data for name, data in VAL.items()}


def assert_same(tmp_path: Path, source: Source) -> None:
    expected = in_folders(tmp_path / "folders")
    assert source.classes == expected.classes == WNIDS
    assert write(source, tmp_path / "x") == write(expected, tmp_path / "y")


def test_the_kit_is_read_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((name, content),) = kit().items()
    as_folder(tmp_path, {name: content})
    monkeypatch.setitem(imagenet.ARCHIVE_META, "devkit", (name, hashlib.md5(content).hexdigest()))
    imagenet.parse_devkit_archive(tmp_path)
    assert imagenet.load_meta_file(tmp_path)[1] == list(TRUTH.values())


@pytest.mark.parametrize("truth", TRUTHS)
def test_tars_as_downloaded(tmp_path: Path, truth: Truth) -> None:
    path = as_folder(tmp_path / "a", truth())
    tar_of_tars(path / "ILSVRC2012_img_train.tar", TRAIN)
    as_tar(path / "ILSVRC2012_img_val.tar", VAL)
    source = opened(path)
    assert source.validation.names[0] == "ILSVRC2012_img_val/ILSVRC2012_val_00000002.JPEG"
    assert_same(tmp_path, source)


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("make", [as_folder, as_zip])
def test_folders_with_flat_validation_images(tmp_path: Path, truth: Truth, make) -> None:
    assert_same(tmp_path, opened(make(tmp_path / "a", flat() | truth())))


def test_kaggles_folders(tmp_path: Path) -> None:
    root = "ILSVRC/Data/CLS-LOC/"
    content = flat(f"{root}train/", f"{root}val/") | {f"{root}test/ILSVRC2012_test_00000001.JPEG": photo(0)}
    source = opened(as_folder(tmp_path / "a", content | solution()))
    assert source.left_out["beside the training and the validation folder"] == [
        f"{root}test/ILSVRC2012_test_00000001.JPEG"
    ]
    assert_same(tmp_path, source)


def test_the_test_images_tar_is_left_out(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", synsets())
    tar_of_tars(path / "ILSVRC2012_img_train.tar", TRAIN)
    as_tar(path / "ILSVRC2012_img_val.tar", VAL)
    as_tar(path / "ILSVRC2012_img_test_v10102019.tar", {"test/ILSVRC2012_test_00000001.JPEG": photo(0)})
    assert_same(tmp_path, opened(path))


def test_without_the_truth_or_without_labels_validation_images_stay_as_they_are(tmp_path: Path) -> None:
    source = opened(as_folder(tmp_path / "a", flat()))
    assert source.validation.labels.tolist() == [-1] * 5
    bare = opened(as_folder(tmp_path / "b", flat() | solution()), labels=False)
    assert (bare.classes, bare.validation.labels.tolist()) == ([], [0] * 5)


def test_images_in_folders_of_their_classes_need_no_truth(tmp_path: Path) -> None:
    content = {f"val/{TRUTH[name]}/{name}": data for name, data in VAL.items()}
    path = as_folder(tmp_path / "a", {f"train/{name}": data for name, data in TRAIN.items()} | content)
    (path / "val_labels.txt").write_text("wrong", encoding="utf-8")
    assert_same(tmp_path, opened(path))


def test_validation_images_alone_are_a_data_set_of_their_classes(tmp_path: Path) -> None:
    source = opened(as_folder(tmp_path / "a", VAL | synsets()))
    assert (source.classes, source.train.labels.tolist()) == (WNIDS, [0, 0, 0, 1, 2])


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("val_labels.txt", b"n01440764\n", "val_labels.txt: has no class of val/ILSVRC2012_val_00000002.JPEG"),
        ("val_labels.txt", b"3\n" * 5, "line 1: 3 is no class, as n01440764 is"),
        ("val_labels.txt", b"\n" * 5, "line 1: nothing is no class"),
        ("LOC_val_solution.csv", b"a,b\n1,2\n", "LOC_val_solution.csv: cannot be understood"),
        ("ILSVRC2012_devkit_t12.tar.gz", b"junk", "t12.tar.gz: cannot be understood"),
        ("data/ILSVRC2012_validation_ground_truth.txt", b"1\n", "ground_truth.txt: cannot be understood"),
    ],
)
def test_a_truth_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what) as error:
        opened(as_folder(tmp_path / "a", flat() | {name: content}))
    one_line(error)


def test_another_data_set_with_such_a_file_is_as_before(tmp_path: Path) -> None:
    content = files(["train/a/1.png", "val/2.png"])
    source = opened(as_folder(tmp_path / "a", content | {"val_labels.txt": b"anything"}))
    assert source.validation.labels.tolist() == [-1]
