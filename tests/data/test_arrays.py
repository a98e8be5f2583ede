"""Arrays as bytes come back as they were, and the same arrays are the same bytes at any time."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from d2it.data.arrays import pack, save_npz, unpack

ARRAYS: dict[str, NDArray] = {
    "numbers": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(24).reshape(4, 6)[::2, ::-3],
    "text": np.array("ε of 0.5"),
    "texts": np.array(["a", "longer"]),
    "scalar": np.array(7, np.uint8),
    "empty": np.zeros((0, 5), np.float32),
    "flags": np.array([True, False]),
    "big_endian": np.arange(3, dtype=">i4"),
}


def assert_same(one: NDArray, other: NDArray) -> None:
    assert (one.dtype, one.shape, one.tolist()) == (other.dtype, other.shape, other.tolist())


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_with_its_type_shape_and_values(name: str) -> None:
    (array,) = unpack(pack((ARRAYS[name],)))
    assert_same(array, ARRAYS[name])


def test_many_come_back_in_their_order_and_none_is_none() -> None:
    for array, expected in zip(unpack(pack(tuple(ARRAYS.values()))), ARRAYS.values(), strict=True):
        assert_same(array, expected)
    assert unpack(pack(())) == ()


def test_numpy_reads_the_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "arrays.npz"
    save_npz(path, **ARRAYS)
    assert [p.name for p in path.parent.iterdir()] == ["arrays.npz"]
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == sorted(ARRAYS)
        for name, array in ARRAYS.items():
            assert_same(file[name], array)


def test_the_bytes_hold_no_time_and_are_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz(tmp_path / "first.npz", **ARRAYS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    save_npz(tmp_path / "second.npz", **ARRAYS)
    content = (tmp_path / "first.npz").read_bytes()
    assert content == (tmp_path / "second.npz").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            assert (entry.date_time, entry.compress_type) == ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)
            assert (entry.flag_bits, entry.extra) == (0, b"")


@pytest.mark.parametrize("write", [pack, lambda arrays: save_npz(Path("never.npz"), x=arrays[0])])
def test_objects_which_would_be_pickled_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="object"):
        write((np.array([{}], dtype=object),))
    assert list(tmp_path.iterdir()) == []
