from pathlib import Path

import numpy as np
import pytest

from d2it.evaluation.frechet import Gaussian
from d2it.evaluation.reference import Reference, load_reference, save_reference


@pytest.fixture
def reference() -> Reference:
    rng = np.random.default_rng(0)
    pool, spatial = (Gaussian(rng.normal(size=d), rng.normal(size=(d, d))) for d in (4, 3))
    return Reference(pool, spatial, rng.normal(size=(5, 4)).astype(np.float32))


def test_a_reference_comes_back_bit_by_bit_under_its_key_alone(tmp_path: Path, reference: Reference) -> None:
    path = tmp_path / "reference.npz"
    assert load_reference(path, "key") is None
    save_reference(path, reference, "key")
    assert load_reference(path, "other key") is None
    loaded = load_reference(path, "key")
    assert loaded is not None
    np.testing.assert_array_equal(loaded.pool.covariance, reference.pool.covariance)
    np.testing.assert_array_equal(loaded.spatial.mean, reference.spatial.mean)
    np.testing.assert_array_equal(loaded.features, reference.features)
    assert [child.name for child in tmp_path.iterdir()] == ["reference.npz"]


def test_the_same_reference_gives_the_same_bytes(tmp_path: Path, reference: Reference) -> None:
    for name in ("a.npz", "b.npz"):
        save_reference(tmp_path / name, reference, "key")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_damaged_file_is_no_reference(tmp_path: Path, reference: Reference, keep: int) -> None:
    path = tmp_path / "reference.npz"
    save_reference(path, reference, "key")
    path.write_bytes(path.read_bytes()[:keep])
    assert load_reference(path, "key") is None


def test_a_pickled_array_is_no_reference(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    np.savez(path, key=np.array({"code": print}, dtype=object))
    assert load_reference(path, "key") is None
