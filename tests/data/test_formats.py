"""The same images are the same data set in every format."""

import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from d2it.data.imageset import DataError
from d2it.data.sources import files_of, open_images
from tests.data.formats import as_parquet, hub_files, listed, shards, stylegan_zip, tar_of_tars
from tests.data.test_sources import SIZE, as_folder, as_tar, as_zip, files, one_line, write
from tools.deps import ROOT

Make = Callable[[Path, Mapping[str, bytes]], Path]
CLOTHING = next((zip_ for up in ROOT.parents if (zip_ := up / "shared/data/clothing.zip").exists()), None)


def stylegan_folder(path: Path, content: Mapping[str, bytes]) -> Path:
    return as_folder(path, listed(content))


def tars_of_classes(path: Path, content: Mapping[str, bytes]) -> Path:
    """A folder of tars, each of one class: ImageNet's training set, unpacked once."""
    path.mkdir()
    for folder in {name.partition("/")[0] for name in content}:
        own = {name.partition("/")[2]: data for name, data in content.items() if name.startswith(f"{folder}/")}
        as_tar(path / f"{folder}.tar", own)
    return path


FORMATS: list[Make] = [
    as_zip, as_tar, tar_of_tars, tars_of_classes, hub_files, shards, stylegan_zip, stylegan_folder,
]  # fmt: skip


@pytest.mark.parametrize("make", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_same_images_give_the_same_bytes_in_every_format(tmp_path: Path, make: Make, share: float) -> None:
    content = files([f"{'abc'[i // 4]}/{i:02d}.png" for i in range(11)])
    folder = open_images(as_folder(tmp_path / "folder", content), SIZE, share, 0)
    other = open_images(make(tmp_path / "other", content), SIZE, share, 0)
    assert len(folder.classes) == len(other.classes) == 3
    assert other.left_out.keys() <= {"no images"}
    assert write(folder, tmp_path / "x") == write(other, tmp_path / "y")
    written = sorted(path.relative_to(tmp_path / "x") for path in (tmp_path / "x").rglob("*.npy"))
    assert written
    for name in written:
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(CLOTHING is None, reason="no shared/data/clothing.zip above the repository")
def test_photos_of_clothes_give_the_same_bytes_in_every_format(tmp_path: Path) -> None:
    assert CLOTHING
    with zipfile.ZipFile(CLOTHING) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("validation/") and name[-1] != "/")
        content = {name.removeprefix("validation/"): archive.read(name) for name in names}
    expected = write(open_images(as_folder(tmp_path / "folder", content), SIZE, 0.2, 0), tmp_path / "x")
    assert expected.train > 100
    for make in FORMATS:
        path = make(tmp_path / make.__name__, content)
        assert write(open_images(path, SIZE, 0.2, 0), tmp_path / "y") == expected, make.__name__


def test_a_folder_of_other_archives_says_what_is_allowed(tmp_path: Path) -> None:
    as_folder(tmp_path / "a", {"1.zip": b"x", "2.tar.gz": b"x", "notes.txt": b"x"})
    with pytest.raises(DataError, match=r"3 files left out.*1\.zip, 2\.tar\.gz.*tars that are not compressed") as error:
        open_images(tmp_path / "a", SIZE, 0, 0)
    one_line(error)


def test_a_tar_in_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", {"1.tar": b"junk"})
    with pytest.raises(DataError, match=r"1\.tar: .*not compressed") as error:
        open_images(path, SIZE, 0, 0)
    one_line(error)


def test_a_thousand_tars_are_read_with_few_open_files(tmp_path: Path) -> None:
    """A process may often open 1,024 files."""
    path = tmp_path / "a"
    path.mkdir()
    for number in range(60):
        as_tar(path / f"n{number}.tar", files(["1.png", "2.png"]))
    train = open_images(path, SIZE, 0, 0).train
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 8, limits[1]))
    try:
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(train.read, range(120)))) == 120
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_table_of_captions_beside_shards_is_no_data_set(tmp_path: Path) -> None:
    """As img2dataset writes."""
    content = files(["a/1.png", "b/2.png"])
    path = shards(tmp_path / "a", content)
    as_parquet(path / "train-000000.parquet", {"caption": ["x", "y"]})
    source = open_images(path, SIZE, 0, 0)
    assert (source.classes, source.left_out) == (["0", "1"], {"no images": ["train-000000.parquet"]})


@pytest.mark.parametrize(
    ("source", "path"),
    [("twemoji", None), ("skimage", None), ("a/b.zip", "/root/a/b.zip"), ("/a", "/a"),
     ("torchvision:MNIST:a", "/root/a"), ("torchvision:MNIST:/a", "/a")],
)  # fmt: skip
def test_a_source_says_where_its_files_lie(source: str, path: str | None) -> None:
    assert files_of(source, Path("/root")) == (path and Path(path))


def test_tars_beside_images_are_left_out_and_counted(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", files(["1.png"]))
    as_tar(path / "2.tar", files(["2.png"]))
    source = open_images(path, SIZE, 0, 0)
    assert (source.train.names, source.left_out) == (["1.png"], {"no images": ["2.tar"]})


@pytest.mark.parametrize("module", ["pyarrow", "torchvision", "scipy.io"])
def test_images_in_folders_need_no_reader_of_another_format(tmp_path: Path, module: str) -> None:
    path = as_folder(tmp_path / "a", files(["1.png"]))
    code = (
        f"import sys; sys.modules[{module!r}] = None; from pathlib import Path; "
        f"from d2it.data.sources import open_images; open_images(Path({str(path)!r}), 16, 0, 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_validation_images_do_not_train_where_those_of_the_training_folder_are_packed(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "a", files(["val/a/1.png", "val/b/2.png"]))
    (path / "train").mkdir()
    as_tar(path / "train" / "n01440764.tar", files(["1.png"]))
    with pytest.raises(DataError, match=r"train/n01440764.tar: the training folder holds archives") as error:
        open_images(path, SIZE, 0.5, 0)
    one_line(error)
