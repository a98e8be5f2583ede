"""samples.npz is written and read as a stream, whole or not at all, and others read it and theirs is read."""

import io
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from d2it.data import samples as module
from d2it.data.imageset import DataError
from d2it.data.samples import Samples, SamplesWriter, export_png, npz_entry
from d2it.size import Size

SIZE = Size(6, 9)
IMAGES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (11, *SIZE, 3), np.uint8)
LABELS = np.arange(11) % 3


def write(path: Path, batch: int = 4, images: NDArray[np.uint8] = IMAGES) -> Path:
    with SamplesWriter(path, images=len(images), size=SIZE) as writer:
        for start in range(0, len(images), batch):
            writer.append(images[start : start + batch], LABELS[start : start + batch])
    return path


@pytest.mark.parametrize("batch", [1, 4, 11])
def test_what_is_written_batch_by_batch_is_what_numpy_reads(tmp_path: Path, batch: int) -> None:
    with np.load(write(tmp_path / "new" / "samples.npz", batch), allow_pickle=False) as file:
        assert sorted(file.files) == ["arr_0", "arr_1"]
        np.testing.assert_array_equal(file["arr_0"], IMAGES)
        np.testing.assert_array_equal(file["arr_1"], LABELS)
        assert (file["arr_0"].dtype, file["arr_1"].dtype) == (np.uint8, np.int64)


def test_a_reader_that_streams_the_zips_member_reads_the_images(tmp_path: Path) -> None:
    """As the ADM evaluator's does: the array's header, then row after row from the member."""
    with zipfile.ZipFile(write(tmp_path / "samples.npz")) as archive, archive.open("arr_0.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        assert (shape, fortran, dtype) == (IMAGES.shape, False, np.dtype(np.uint8))
        row = int(np.prod(shape[1:]))
        rows = [np.frombuffer(member.read(row), dtype).reshape(shape[1:]) for _ in range(shape[0])]
        assert member.read() == b""
    np.testing.assert_array_equal(rows, IMAGES)


def test_the_bytes_are_the_same_for_any_batches_and_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(tmp_path / "first.npz", 4).read_bytes()
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    assert write(tmp_path / "second.npz", 3).read_bytes() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        for entry in archive.infolist():
            assert (entry.date_time, entry.compress_type) == ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, None])
def test_any_images_are_read_in_any_order_as_they_are(tmp_path: Path, save: object) -> None:
    path = tmp_path / "samples.npz"
    if callable(save):
        save(path, IMAGES, LABELS)
    else:
        write(path)
    samples = Samples(path)
    assert (len(samples), samples.size) == (11, SIZE)
    assert samples.labels is not None
    assert samples.labels.tolist() == LABELS.tolist()
    for rows in ([0, 1, 2], [10, 3, 4, 5, 0], [7], [2, 2, 2], []):
        taken = samples.take(np.array(rows, np.int64))
        np.testing.assert_array_equal(taken, IMAGES[rows])
    with pytest.raises(IndexError, match=r"images 3\.\.11 of 11"):
        samples.take(np.array([3, 11]))


def test_what_is_read_is_a_new_array_that_can_be_written_to(tmp_path: Path) -> None:
    samples = Samples(write(tmp_path / "samples.npz"))
    samples.take(np.arange(3))[:] = 0
    np.testing.assert_array_equal(samples.take(np.arange(3)), IMAGES[:3])


def test_samples_of_others_need_no_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", IMAGES)
    assert Samples(tmp_path / "samples.npz").labels is None


def test_more_than_4_gib_are_announced_as_zip64_does(tmp_path: Path) -> None:
    """Only the header is written: what comes after it is left to the file system as a hole."""
    images = (1 << 32) // (256 * 256 * 3) + 1
    path = tmp_path / "large.npz"
    with zipfile.ZipFile(path, "w") as archive, npz_entry(archive, "arr_0", (images, 256, 256, 3), np.uint8):
        pass
    local = path.read_bytes()
    assert int.from_bytes(local[28:30], "little") == 20, "sizes of 64 bits in the extra field"


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = write(tmp_path / "samples.npz")
    before = path.read_bytes()

    def killed() -> None:
        with SamplesWriter(path, images=4, size=SIZE) as writer:
            writer.append(IMAGES[:2], LABELS[:2])
            raise KeyError("killed")

    with pytest.raises(KeyError):
        killed()
    with pytest.raises(ValueError, match="2 images, announced 4"), SamplesWriter(path, images=4, size=SIZE) as writer:
        writer.append(IMAGES[:2], LABELS[:2])
    with pytest.raises(ValueError, match="5 images, announced 4"), SamplesWriter(path, images=4, size=SIZE) as writer:
        writer.append(IMAGES[:5], LABELS[:5])
    wrong = r"must be uint8 \(B, 6, 9, 3\)"
    with pytest.raises(ValueError, match=wrong), SamplesWriter(path, images=4, size=SIZE) as writer:
        writer.append(IMAGES[:4].astype(np.float32), LABELS[:4])  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["samples.npz"]


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        Samples(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_files_that_hold_no_samples_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    assert refused(path) == "no such file"
    path.write_bytes(b"not a zip")
    assert refused(path).startswith("damaged, or not an npz file: File is not a zip file")
    np.savez(path, images=IMAGES)
    assert refused(path) == "no arr_0 in it, but images.npy: must be uint8 (N, H, W, 3) named arr_0"
    np.savez(path, IMAGES.astype(np.float32))
    assert refused(path) == "arr_0: float32 (11, 6, 9, 3): must be uint8 (N, H, W, 3)"
    np.savez(path, IMAGES[..., :2])
    assert refused(path) == "arr_0: uint8 (11, 6, 9, 2): must be uint8 (N, H, W, 3)"
    np.savez(path, IMAGES[..., 0])
    assert refused(path) == "arr_0: uint8 (11, 6, 9): must be uint8 (N, H, W, 3)"
    np.savez(path, IMAGES[:0])
    assert refused(path) == "arr_0: (0, 6, 9, 3): no images in it"
    np.savez(path, np.asfortranarray(IMAGES))
    assert "in Fortran's order: must be uint8" in refused(path)
    np.savez(path, IMAGES, LABELS[:3])
    assert refused(path).endswith("arr_1: int64 (3,): must be 11 integers, a label for each image")


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickled_arrays_are_refused_and_not_executed(tmp_path: Path) -> None:
    path, trace = tmp_path / "samples.npz", tmp_path / "executed"
    np.savez(path, np.array([Bomb(trace)], dtype=object))
    assert refused(path) == "arr_0: pickled objects: must be uint8 (N, H, W, 3)"
    np.savez(path, IMAGES, np.array([Bomb(trace)], dtype=object))
    assert "Object arrays cannot be loaded" in refused(path)
    path.write_bytes(pickle.dumps(Bomb(trace)))
    assert "not a zip file" in refused(path)
    assert not trace.exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cut_and_damaged_files_are_refused(tmp_path: Path, save: object) -> None:
    assert callable(save)
    path = tmp_path / "samples.npz"
    save(path, IMAGES)
    content = path.read_bytes()
    for keep in (0, 20, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:keep])
        refused(path)
    wrong = bytearray(content)
    wrong[len(content) // 2] ^= 0xFF
    path.write_bytes(wrong)
    assert refused(path).startswith("damaged, or not an npz file: ")


def test_images_are_checked_once_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, np.repeat(IMAGES, 100, 0))
    content = bytearray(path.read_bytes())
    content[100_000] ^= 0xFF
    path.write_bytes(content)
    assert "Bad CRC" in refused(path)
    assert len(Samples(path, check=False)) == 1100, "another rank has looked"


def test_png_files_hold_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, done = write(tmp_path / "samples.npz"), list[int]()
    export_png(Samples(path), tmp_path / "png", done.append)
    names = sorted(child.name for child in (tmp_path / "png").iterdir())
    assert names == [f"{i:06d}.png" for i in range(11)]
    np.testing.assert_array_equal([np.asarray(Image.open(tmp_path / "png" / name)) for name in names], IMAGES)
    assert sum(done) == 11

    monkeypatch.setattr(sys, "argv", ["samples", str(path), str(tmp_path / "again")])
    assert module.main() == 0
    assert len(list((tmp_path / "again").iterdir())) == 11


def test_exporting_what_is_no_samples_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["samples", str(tmp_path / "none.npz"), str(tmp_path / "png")])
    assert module.main() == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.npz'}: no such file\n"
    assert not (tmp_path / "png").exists()
