"""Any set of images is read as it is, and never resized."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from d2it.data.imageset import DataError
from d2it.data.shards import ShardWriter
from d2it.evaluation.images import check_same_size, fair_sample, is_npz, open_images

IMAGES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), np.uint8)
LABELS = np.array([0, 0, 1, 1, 1, 2])
NAMES = [f"{'abc'[label]}/{i}.png" for i, label in enumerate(LABELS)]


def as_folder(root: Path) -> Path:
    for name, image in zip(NAMES, IMAGES, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / name)
    return root


def as_zip(root: Path) -> Path:
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for path in sorted(as_folder(root).rglob("*.png")):
            archive.write(path, path.relative_to(root))
    return root.with_suffix(".zip")


def as_npz(root: Path) -> Path:
    np.savez(root.with_suffix(".npz"), IMAGES, LABELS)
    return root.with_suffix(".npz")


def as_nameless_npz(root: Path) -> Path:
    return as_npz(root).rename(root.with_suffix(".samples"))


def as_prepared(root: Path) -> Path:
    for name, rows in (("images", IMAGES), ("labels", LABELS)):
        with ShardWriter(root, name, rows.shape[1:], rows.dtype, rows=len(rows)) as writer:
            writer.append(rows)
    return root


@pytest.mark.parametrize("make", [as_folder, as_zip, as_npz, as_nameless_npz, as_prepared])
def test_images_and_labels_of_any_kind_are_those_that_are_there(tmp_path: Path, make: object) -> None:
    assert callable(make)
    images = open_images(make(tmp_path / "images"))
    assert (len(images), images.size) == (6, (10, 12))
    assert images.labels is not None
    assert images.labels.tolist() == LABELS.tolist()
    np.testing.assert_array_equal(images.take(np.array([5, 0, 3])), IMAGES[[5, 0, 3]])


def test_images_of_one_class_have_no_classes(tmp_path: Path) -> None:
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{i:06d}.png")
    assert open_images(tmp_path).labels is None


def refused(path: Path) -> str:
    def read() -> None:
        images = open_images(path)
        images.take(np.arange(len(images)))

    with pytest.raises(DataError) as error:
        read()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_image_of_another_size_is_refused_with_its_name_and_both_sizes(tmp_path: Path) -> None:
    as_folder(tmp_path)
    Image.fromarray(IMAGES[0, :8, :8]).save(tmp_path / "c" / "6.png")
    message = refused(tmp_path)
    assert message == f"{tmp_path}: c/6.png: 8 x 8 pixels: must be of one size, as a/0.png, 10 x 12 (height x width)"
    Image.fromarray(IMAGES[0].transpose(1, 0, 2)).save(tmp_path / "c" / "6.png")
    assert "c/6.png: 12 x 10 (height x width) pixels: must be of one size" in refused(tmp_path)
    (tmp_path / "c" / "6.png").write_bytes(b"no image")
    assert refused(tmp_path).startswith(f"{tmp_path}: c/6.png: cannot be read: ")


def test_a_photo_that_lies_on_its_side_is_read_upright_and_whole(tmp_path: Path) -> None:
    """As a camera writes it: EXIF says by how much it was turned."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{number}.png", exif=exif)
    images = open_images(tmp_path)
    assert images.size == (12, 10)
    np.testing.assert_array_equal(images.take(np.arange(6)), np.rot90(IMAGES, -1, (1, 2)))


def test_paths_without_images_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == f"{tmp_path / 'none'}: no such file or folder"
    assert refused(tmp_path).endswith("no image in it")
    (tmp_path / "text").write_text("text")
    message = refused(tmp_path / "text")
    assert message.startswith(f"{tmp_path / 'text'}: neither a folder nor a readable zip")
    assert message.endswith("must be an npz of samples, or a folder, zip or tar of images")
    assert not is_npz(tmp_path / "text")
    as_prepared(tmp_path / "half")
    (tmp_path / "half" / "labels-00000.npy").unlink()
    assert refused(tmp_path / "half").endswith("must hold images-*.npy and labels-*.npy")


def test_sides_of_different_sizes_are_refused(tmp_path: Path) -> None:
    large = open_images(as_npz(tmp_path / "large"))
    np.savez(tmp_path / "small.npz", IMAGES[:, :8, :8])
    small = open_images(tmp_path / "small.npz")
    check_same_size([("a", large), ("b", large)])
    with pytest.raises(DataError, match=r"^a: 10 x 12 \(height x width\) pixels; b: 8 x 8: must be equal$"):
        check_same_size([("a", large), ("b", small)])


def test_a_fair_sample_is_drawn_from_all_once_and_in_order() -> None:
    rows = fair_sample(10_000, 500)
    assert len(set(rows.tolist())) == 500
    assert (np.diff(rows) > 0).all()
    assert abs(rows.mean() - 5000) < 500
    assert fair_sample(4, 500).tolist() == [0, 1, 2, 3]
