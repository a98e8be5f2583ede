"""Reference statistics at rest: of ours by the ADM evaluator's formulas, and of its files by ours."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from d2it.data.imageset import DataError
from d2it.errors import NonFiniteError
from d2it.evaluation.frechet import Gaussian, GaussianStatistics, frechet_distance
from d2it.evaluation.reference import Identity, Reference, load_reference, open_published, save_reference

RNG = np.random.default_rng(0)
IMAGES: NDArray[np.uint8] = RNG.integers(0, 256, (5, 6, 6, 3), np.uint8)
POOL, SPATIAL, SAMPLES = (RNG.normal(size=(n, d)) + n for n, d in ((60, 4), (60, 3), (50, 4)))
INCEPTION = "inception 0123abcd 1"
IDENTITY = Identity(key="key", extractor=INCEPTION)


def gaussian(features: NDArray[np.floating]) -> Gaussian:
    statistics = GaussianStatistics(features.shape[1])
    statistics.add(features)
    return statistics.gaussian()


REFERENCE = Reference(
    pool=gaussian(POOL),
    spatial=gaussian(SPATIAL),
    features=POOL[:5].astype(np.float32),
    originals=gaussian(SAMPLES),
    classes=(np.array([3, 2]), POOL[:2], POOL[:4]),
    agreement=0.75,
)


def arrays(reference: Reference) -> list[NDArray]:
    gaussians = [x for x in (reference.pool, reference.spatial, reference.originals) if x is not None]
    of_gaussians = [array for one in gaussians for array in (one.mean, one.covariance)]
    return [*of_gaussians, reference.features, *reference.classes, np.array(reference.agreement, float)]


@pytest.mark.parametrize("changes", [{}, {"spatial": None, "originals": None, "classes": (), "agreement": None}])
def test_a_reference_comes_back_bit_by_bit_under_its_identity_alone(tmp_path: Path, changes: dict) -> None:
    path, reference = tmp_path / "reference.npz", replace(REFERENCE, **changes)
    assert load_reference(path, IDENTITY) is None
    save_reference(path, reference, IDENTITY)
    assert load_reference(path, replace(IDENTITY, key="other")) is None
    assert load_reference(path, replace(IDENTITY, extractor="other")) is None
    loaded = load_reference(path, IDENTITY)
    assert loaded is not None
    for one, other in zip(arrays(loaded), arrays(reference), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [child.name for child in tmp_path.iterdir()] == ["reference.npz"]


def test_the_same_reference_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_reference(tmp_path / name, REFERENCE, IDENTITY, take=IMAGES.__getitem__)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_damaged_file_is_no_reference(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "reference.npz"
    save_reference(path, REFERENCE, IDENTITY)
    path.write_bytes(path.read_bytes()[:keep])
    assert load_reference(path, IDENTITY) is None


def test_a_pickled_array_is_no_reference(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    np.savez(path, key=np.array({"code": print}, dtype=object))
    assert load_reference(path, IDENTITY) is None
    np.savez(path, mu=np.array({"code": print}, dtype=object))
    with pytest.raises(DataError, match="damaged, or not an npz file: Object arrays cannot be loaded"):
        open_published(path, INCEPTION)


@pytest.mark.parametrize("place", ["mean", "features", "classes"])
def test_a_nan_does_not_get_into_the_file(tmp_path: Path, place: str) -> None:
    wrong = {
        "mean": {"pool": Gaussian(np.array([np.nan, 0, 0, 0]), REFERENCE.pool.covariance)},
        "features": {"features": np.full((5, 4), np.inf, np.float32)},
        "classes": {"classes": (np.array([3, 2]), np.full((2, 4), np.nan), POOL[:4])},
    }[place]
    with pytest.raises(NonFiniteError, match=r"reference\.npz: .* values are NaN or infinite$"):
        save_reference(tmp_path / "reference.npz", replace(REFERENCE, **wrong), IDENTITY)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def adm_distance(mu: NDArray, sigma: NDArray, others: NDArray) -> float:
    """As the ADM evaluator computes it, with the statistics of a file and the features of samples."""
    mean, covariance = np.mean(others, axis=0), np.cov(others, rowvar=False)
    root = sqrtm(sigma.dot(covariance)).real
    return float(((mu - mean) ** 2).sum() + np.trace(sigma) + np.trace(covariance) - 2 * np.trace(root))


def test_the_adm_evaluator_reads_ours_and_computes_the_same(tmp_path: Path) -> None:
    """It streams arr_0 out of the zip, and takes mu, sigma, mu_s and sigma_s with NumPy."""
    path = tmp_path / "reference.npz"
    save_reference(path, REFERENCE, IDENTITY, take=IMAGES.__getitem__)
    with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        assert (shape, fortran, dtype) == (IMAGES.shape, False, np.dtype(np.uint8))
        assert member.read() == IMAGES.tobytes()
    file = np.load(path)
    np.testing.assert_allclose(file["mu"], np.mean(POOL, axis=0), rtol=1e-12)
    np.testing.assert_allclose(file["sigma"], np.cov(POOL, rowvar=False), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(file["mu_s"], np.mean(SPATIAL, axis=0), rtol=1e-12)
    np.testing.assert_allclose(file["sigma_s"], np.cov(SPATIAL, rowvar=False), rtol=1e-9, atol=1e-10)
    ours = frechet_distance(REFERENCE.pool, gaussian(SAMPLES))
    assert ours == pytest.approx(adm_distance(file["mu"], file["sigma"], SAMPLES), rel=1e-9)


def save_as_adm(path: Path, **changes: NDArray) -> None:
    """Such a file as VIRTUAL_imagenet256_labeled.npz."""
    content = {
        "arr_0": IMAGES, "mu": np.mean(POOL, axis=0), "sigma": np.cov(POOL, rowvar=False),
        "mu_s": np.mean(SPATIAL, axis=0), "sigma_s": np.cov(SPATIAL, rowvar=False),
    }  # fmt: skip
    np.savez(path, **(content | changes))


def test_the_adm_evaluators_files_are_used_as_they_are(tmp_path: Path) -> None:
    save_as_adm(tmp_path / "theirs.npz")
    theirs = open_published(tmp_path / "theirs.npz", INCEPTION)
    assert theirs is not None
    assert theirs.spatial is not None
    assert theirs.images is not None
    np.testing.assert_array_equal(theirs.pool.mean, np.mean(POOL, axis=0))
    np.testing.assert_array_equal(theirs.spatial.covariance, np.cov(SPATIAL, rowvar=False))
    np.testing.assert_array_equal(theirs.images.take(np.arange(5)), IMAGES)
    distance = adm_distance(np.mean(POOL, axis=0), np.cov(POOL, rowvar=False), SAMPLES)
    assert frechet_distance(theirs.pool, gaussian(SAMPLES)) == pytest.approx(distance, rel=1e-9)


def test_ours_are_statistics_of_the_extractor_that_made_them_alone(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    save_reference(path, REFERENCE, replace(IDENTITY, extractor="efficientnet_lite0 a 1"))
    ours = open_published(path, "efficientnet_lite0 a 1")
    assert ours is not None
    assert ours.images is None
    with pytest.raises(DataError, match=r"of efficientnet_lite0 a 1: must be of efficientnet_lite0 b 1$"):
        open_published(path, "efficientnet_lite0 b 1")
    save_as_adm(path)
    with pytest.raises(DataError, match=r"statistics of features of inception: must be of efficientnet_lite0 a 1$"):
        open_published(path, "efficientnet_lite0 a 1")


def test_files_without_statistics_and_wrong_ones_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    with pytest.raises(DataError, match=r"samples\.npz: no such file$"):
        open_published(path, INCEPTION)
    np.savez(path, IMAGES)
    assert open_published(path, INCEPTION) is None
    save_as_adm(path, sigma=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"mu \(4,\), sigma \(2, 2\): must be \(D,\) and \(D, D\)$"):
        open_published(path, INCEPTION)
    save_as_adm(path, mu_s=np.full(3, np.nan))
    with pytest.raises(NonFiniteError, match=r"samples\.npz: mu_s: 3 of 3 values are NaN or infinite$"):
        open_published(path, INCEPTION)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="damaged, or not an npz file"):
        open_published(path, INCEPTION)
