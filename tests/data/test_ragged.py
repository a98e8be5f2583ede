"""Rows of different lengths come back by index, however they were written and cut into files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2it.data import ragged
from d2it.data.ragged import Ragged, RaggedWriter


def write(folder: Path, lengths: list[int], *, per_file: int, cut: int = 3) -> list[NDArray[Any]]:
    """Numbered items in rows of these lengths; returns the rows."""
    items = np.arange(2 * sum(lengths), dtype=np.int32).reshape(-1, 2)
    rows = np.split(items, np.cumsum(lengths)[:-1])
    with RaggedWriter(folder, "x", (2,), np.int32, rows=len(rows), longest=max(lengths)) as writer:
        writer._items.shard_rows = per_file
        for start in range(0, len(rows), cut):
            some = rows[start : start + cut]
            writer.append(np.concatenate(some), np.array([len(row) for row in some]))
    return rows


def read(stored: Ragged, rows: NDArray[np.int64]) -> NDArray[Any]:
    spans = stored.spans(rows)
    out = np.empty((int((spans[:, 1] - spans[:, 0]).sum()), *stored.item_shape), stored.dtype)
    stored.copy(spans, out)
    return out


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    per_file=st.integers(1, 20), cut=st.integers(1, 5), seed=st.integers(0, 99),
)  # fmt: skip
def test_rows_come_back_in_the_asked_order_however_they_were_cut(
    tmp_path_factory: pytest.TempPathFactory, *, lengths: list[int], per_file: int, cut: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("ragged")
    rows = write(folder, lengths, per_file=per_file, cut=cut)
    stored = Ragged(folder, "x")
    assert stored.rows == len(lengths)
    assert len(list(folder.glob("x-*.npy"))) == -(-sum(lengths) // per_file)
    index = np.random.default_rng(seed).integers(0, len(rows), 7)
    np.testing.assert_array_equal(read(stored, index), np.concatenate([rows[i] for i in index]))


def test_no_byte_at_rest_is_left_over(tmp_path: Path) -> None:
    write(tmp_path, [3, 1, 2], per_file=4)
    assert sum(len(np.load(path)) for path in tmp_path.glob("x-*.npy")) == 6


def test_files_of_any_number_take_no_more_than_a_fixed_number_of_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write(tmp_path, [2] * 40, per_file=2)
    monkeypatch.setattr(ragged, "OPEN_FILES", 5)
    before = len(list(Path("/proc/self/fd").iterdir()))
    stored = Ragged(tmp_path, "x")
    np.testing.assert_array_equal(read(stored, np.arange(40)), np.concatenate(rows))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 5 + 1  # and where rows start


def test_wrong_counts_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 items, lengths 2"):
        RaggedWriter(tmp_path, "y", (), np.int64, rows=2, longest=4).append(np.zeros(3, np.int64), np.array([1, 1]))
    with pytest.raises(ValueError, match="announced 3"), RaggedWriter(tmp_path, "z", (), np.int64, rows=2, longest=4):
        pass
    write(tmp_path, [4, 4], per_file=3)
    with pytest.raises(IndexError):
        Ragged(tmp_path, "x").spans(np.array([2]))
    (tmp_path / "x-00002.npy").unlink()
    with pytest.raises(FileNotFoundError):
        Ragged(tmp_path, "x")
