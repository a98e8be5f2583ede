"""Prepared photos come back as they were written, mirrored where asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2it.data.photos import Photos, to_float, to_uint8
from d2it.data.shards import Shards, ShardWriter, Shuffled
from d2it.grain.entropy import region_entropy

CPU = torch.device("cpu")


def photos(folder: Path, n: int = 5) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
    arrays = {"images": images, "entropy": region_entropy(images, 16, 0.01), "labels": np.arange(n, dtype=np.int64)}
    for name, array in arrays.items():
        with ShardWriter(folder, name, array.shape[1:], array.dtype, rows=n) as writer:
            writer.append(array)
    return images


def test_a_mirrored_row_is_the_mirrored_photo_with_the_entropies_of_the_mirrored_photo(tmp_path: Path) -> None:
    images = photos(tmp_path)
    doubled = Photos(tmp_path, flip=True)
    assert (doubled.photos, doubled.rows) == (5, 10)
    batch = doubled.take(np.array([3, 8]), CPU)
    pixels = to_uint8(batch.images)
    np.testing.assert_array_equal(pixels, np.stack([images[3], images[3, :, ::-1]]))
    np.testing.assert_allclose(batch.entropy, region_entropy(pixels, 16, 0.01), atol=1e-5)
    assert batch.labels.tolist() == [3, 3]


def test_bytes_survive_the_way_to_float_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3)
    images = to_float(levels)
    assert float(images.min()) == -1
    assert float(images.max()) == 1
    np.testing.assert_array_equal(to_uint8(images), levels.numpy())


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 30), shard=st.integers(1, 7), cut=st.integers(1, 9), seed=st.integers(0, 99))
def test_rows_come_back_by_index_however_they_were_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: int, shard: int, cut: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    data = np.random.default_rng(seed).integers(0, 99, (rows, 2, 3))
    with ShardWriter(folder, "x", (2, 3), data.dtype, rows=rows) as writer:
        writer.shard_rows = shard
        for start in range(0, rows, cut):
            writer.append(data[start : start + cut])
    index = np.random.default_rng(seed).integers(0, rows, 12)
    shards = Shards(folder, "x")
    assert len(shards) == rows
    assert len(list(folder.iterdir())) == -(-rows // shard)
    np.testing.assert_array_equal(shards.take(index), data[index])


def test_wrong_counts_and_indices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced 3"), ShardWriter(tmp_path, "x", (), np.int64, rows=3) as writer:
        writer.append(np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="announced 3"):
        ShardWriter(tmp_path, "y", (), np.int64, rows=3).append(np.zeros(4, np.int64))
    with pytest.raises(IndexError):
        Shards(tmp_path, "x").take(np.array([3]))
    with pytest.raises(FileNotFoundError):
        Shards(tmp_path, "z")


def test_the_first_of_shuffled_rows_are_a_fair_sample_and_all_rows_are_there_once(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "x", (), np.int64, rows=1000) as writer:
        writer.append(np.repeat(np.arange(10), 100))  # class by class
    shuffled = Shuffled(Shards(tmp_path, "x"))
    assert len(set(shuffled.take(np.arange(60)).tolist())) == 10
    assert sorted(shuffled.take(np.arange(len(shuffled)))) == sorted(np.repeat(np.arange(10), 100))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts file descriptors where Linux lists them")
def test_files_of_many_shards_do_not_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2it.data.shards.SHARD_BYTES", 80)
    data = np.arange(1000).reshape(1000, 1)
    with ShardWriter(tmp_path, "x", (1,), np.int64, rows=1000) as writer:
        writer.append(data)
    before = len(list(Path("/proc/self/fd").iterdir()))
    shards = Shards(tmp_path, "x")
    assert len(shards.arrays) == 100
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 5
    np.testing.assert_array_equal(shards.take(np.arange(1000)), data)


def test_a_shard_that_was_cut_is_an_error_and_no_row_of_another(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "x", (1,), np.int64, rows=10) as writer:
        writer.append(np.arange(10).reshape(10, 1))
    path = tmp_path / "x-00000.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="reshape"):
        Shards(tmp_path, "x")
