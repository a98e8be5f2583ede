"""Data sets that torchvision reads, from files as their authors publish them."""

import csv
import hashlib
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision
from PIL import Image

from d2it.data.decode import decode
from d2it.data.imageset import Cropped, DataError, Source
from d2it.data.layout import NEITHER_HALF
from d2it.data.sources import open_source
from d2it.data.torchvision_sets import SETS
from d2it.params.sections import DataParams
from d2it.size import Size
from tests.data.test_sources import one_line, photo, write

SIZE = Size.of(16)


def opened(source: str, root: Path, **changes: object) -> Source:
    values = {
        "seed": 0, "source": source, "splits": "folders", "labels": "folder", "manifest": "times",
        "damaged": "stop", "damaged_share": 0.0,
        "image_size": SIZE.plain, "flip": False, "validation": 0.25, "train_crops": 1, "validation_crops": 1,
    }  # fmt: skip
    return open_source(DataParams.model_validate(values | changes), root)


def decoded(pixels: np.ndarray) -> Cropped:
    """Of pixels, by way of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return decode(file.getvalue(), SIZE)


def idx(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">BBBB{data.ndim}I", 0, 0, 8, data.ndim, *data.shape) + data.tobytes())


def mnist(root: Path, name: str = "MNIST") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    parts = {}
    for half, count in (("train", 12), ("t10k", 6)):
        parts[f"{half}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        parts[f"{half}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    for file, data in parts.items():
        idx(root / name / "raw" / file, data)
    return parts


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_idx_files(tmp_path: Path, name: str) -> None:
    parts = mnist(tmp_path / "files", name)
    source = opened(f"torchvision:{name}:files", tmp_path)
    assert source.classes == list(getattr(torchvision.datasets, name).classes)
    assert source.train.labels.tolist() == [*range(10), 0, 1]
    assert source.validation.labels.tolist() == list(range(6))
    assert (source.train.names[3], source.validation.names[0]) == ("train/3", "test/0")
    expected = decoded(parts["train-images-idx3-ubyte"][3])
    np.testing.assert_array_equal(source.train.read(3).pixels, expected.pixels)
    write(source, tmp_path / "out")


def test_params_say_whether_splits_are_halves_and_labels_classes(tmp_path: Path) -> None:
    mnist(tmp_path)
    share = opened(f"torchvision:MNIST:{tmp_path}", Path("/nowhere"), splits="share")
    assert (len(share.train), len(share.validation)) == (14, 4)
    assert opened(f"torchvision:MNIST:{tmp_path}", tmp_path, labels="none").classes == []


def cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """CIFAR-10's pickles, with checksums of these."""
    data = np.random.default_rng(0).integers(0, 256, (6, 3072)).astype(np.uint8)
    batches = {f"data_batch_{n}": slice(n - 1, n) for n in range(1, 6)} | {"test_batch": slice(5, 6)}
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    sums = {}
    for name, rows in batches.items():
        of_batch = {"data": data[rows], "labels": [rows.start % 2 * 9]}
        (folder / name).write_bytes(pickle.dumps(of_batch))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    names = {"label_names": [f"class {number}" for number in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [[name, sums[name]] for name, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    md5 = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5})
    return data.reshape(6, 3, 32, 32).transpose(0, 2, 3, 1)


def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = cifar(tmp_path, monkeypatch)
    source = opened(f"torchvision:CIFAR10:{tmp_path}", tmp_path)
    assert (source.classes, source.train.labels.tolist()) == (["class 0", "class 9"], [0, 1, 0, 1, 0])
    assert source.validation.labels.tolist() == [1]
    np.testing.assert_array_equal(source.validation.read(0).pixels, decoded(pixels[5]).pixels)
    (tmp_path / "cifar-10-batches-py/data_batch_3").write_bytes(pickle.dumps("another"))
    with pytest.raises(DataError, match=r"cannot read CIFAR10, train = True there \(Dataset not") as error:
        opened(f"torchvision:CIFAR10:{tmp_path}", tmp_path)
    assert "download=True" not in one_line(error)


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo(number))


def lines(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def food(root: Path) -> None:
    for split, names in (("train", ["pie/1", "soup/2"]), ("test", ["soup/3"])):
        text = json.dumps({c: [name for name in names if name.startswith(c)] for c in ("pie", "soup")})
        lines(root / f"food-101/meta/{split}.json", text)
        for name in names:
            picture(root / f"food-101/images/{name}.jpg", int(name[-1]))


def textures(root: Path) -> None:
    for row, split in enumerate(("train", "val", "test")):
        names = [f"{kind}/{kind}_{row}.jpg" for kind in ("pie", "soup")]
        lines(root / f"dtd/dtd/labels/{split}1.txt", *names)
        for name in names:
            picture(root / f"dtd/dtd/images/{name}", row)


def pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    lines(base / "annotations/trainval.txt", "pie_1 1 1 1", "soup_2 2 1 1")
    lines(base / "annotations/test.txt", "soup_3 2 1 1")
    for name in ("pie_1", "soup_2", "soup_3"):
        picture(base / f"images/{name}.jpg", int(name[-1]))


def signs(root: Path) -> None:
    for name in ("00000/1", "00001/2"):
        picture(root / f"gtsrb/GTSRB/Training/{name}.ppm", int(name[-1]))
    picture(root / "gtsrb/GTSRB/Final_Test/Images/3.ppm", 3)
    with (root / "gtsrb/GT-final_test.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["Filename", "ClassId"], delimiter=";")
        writer.writeheader()
        writer.writerow({"Filename": "3.ppm", "ClassId": 1})


def planes(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b/data"
    lines(data / "variants.txt", "pie", "soup")
    for row, split in enumerate(("train", "val", "test")):
        lines(data / f"images_variant_{split}.txt", f"{row}1 pie", f"{row}2 soup")
        for name in (f"{row}1", f"{row}2"):
            picture(data / f"images/{name}.jpg", row)


def numbers(root: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        data = {"X": np.zeros((32, 32, 3, count), np.uint8), "y": np.array([[10], [1], [1]][:count])}
        scipy.io.savemat(root / f"{split}_32x32.mat", data)


def ten(root: Path) -> None:
    for split in ("train", "val"):
        for number, kind in enumerate(("n01440764", "n02979186")):
            picture(root / f"imagenette2/{split}/{kind}/{number}.JPEG", number)


def countries(root: Path) -> None:
    for split in ("train", "valid", "test"):
        for number, kind in enumerate(("AD", "ZW")):
            picture(root / f"country211/{split}/{kind}/{number}.jpg", number)


def land(root: Path) -> None:
    for kind in ("pie", "soup"):
        for number in range(2):
            picture(root / f"eurosat/2750/{kind}/{number}.jpg", number)


def objects(root: Path) -> None:
    for kind in ("pie", "soup"):
        for number in (1, 2):
            picture(root / f"caltech101/101_ObjectCategories/{kind}/image_{number:04d}.jpg", number)
    (root / "caltech101/101_ObjectCategories/BACKGROUND_Google").mkdir()
    (root / "caltech101/Annotations").mkdir()


@pytest.mark.parametrize(
    ("name", "make", "counts"),
    [
        ("Food101", food, (2, 1, 0)), ("DTD", textures, (2, 2, 2)), ("OxfordIIITPet", pets, (2, 1, 0)),
        ("GTSRB", signs, (2, 1, 0)), ("FGVCAircraft", planes, (2, 2, 2)), ("SVHN", numbers, (3, 2, 0)),
        ("EuroSAT", land, (3, 1, 0)), ("Caltech101", objects, (3, 1, 0)),
        ("Imagenette", ten, (2, 2, 0)), ("Country211", countries, (2, 2, 2)),
    ],
)  # fmt: skip
def test_sets_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make, counts: tuple[int, ...]
) -> None:
    make(tmp_path)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    source = opened(f"torchvision:{name}:{tmp_path}", tmp_path)
    left_out = source.left_out.get(NEITHER_HALF, [])
    assert (len(source.train), len(source.validation), len(left_out)) == counts
    assert source.classes in (
        ["pie", "soup"],
        ["Pie", "Soup"],
        ["0", "1"],
        ["AD", "ZW"],
        ["tench, Tinca tinca", "cassette player"],
    )
    written = write(source, tmp_path / "out")
    assert (written.train, written.damaged) == (counts[0], 0)


def test_every_name_is_a_class_of_torchvision() -> None:
    assert [name for name in SETS if not hasattr(torchvision.datasets, name)] == []


@pytest.mark.parametrize(
    "source", ["torchvision:ImageNet:x", "torchvision:CIFAR10", "torchvision::x", "torchvision:os:x"]
)
def test_another_name_or_no_path_is_one_line_with_all_names(tmp_path: Path, source: str) -> None:
    with pytest.raises(
        DataError, match=r"must be torchvision:NAME:PATH, with a NAME of CIFAR10, .*Caltech256"
    ) as error:
        opened(source, tmp_path)
    one_line(error)


def test_a_missing_folder_or_data_set_is_one_line(tmp_path: Path) -> None:
    for path, what in (("nothing", "no such folder"), (".", "torchvision cannot read MNIST, train = True there")):
        with pytest.raises(DataError, match=what) as error:
            opened(f"torchvision:MNIST:{path}", tmp_path)
        one_line(error)
