import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from d2it.errors import NonFiniteError
from d2it.evaluation.frechet import Gaussian, GaussianStatistics, frechet_distance
from tests.evaluation.conftest import distance_of_features, near


def fit(features: NDArray[np.floating]) -> Gaussian:
    statistics = GaussianStatistics(features.shape[1])
    statistics.add(features)
    return statistics.gaussian()


def draw(rng: np.random.Generator, n: int, d: int) -> NDArray[np.float64]:
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.slow
@given(st.integers(2, 60), st.lists(st.integers(0, 60), max_size=6), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_statistics_equal_numpys_for_any_cut_and_any_merge(n: int, cuts: list[int], merged: int, seed: int) -> None:
    features = (draw(np.random.default_rng(seed), n, 4) + 10).astype(np.float32)
    parts = np.split(features, sorted(min(cut, n) for cut in cuts))
    ours, theirs = GaussianStatistics(4), GaussianStatistics(4)
    for i, part in enumerate(parts):
        (theirs if i < merged else ours).add(part)
    ours.merge(GaussianStatistics.from_arrays(*theirs.arrays()))
    gaussian = ours.gaussian()
    expected = features.astype(np.float64)
    assert ours.count == n
    np.testing.assert_allclose(gaussian.mean, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(gaussian.covariance, np.cov(expected, rowvar=False), rtol=1e-9, atol=1e-10)


def test_a_single_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="1 images: a covariance needs at least 2"):
        fit(np.zeros((1, 3)))


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_distance_of_diagonal_gaussians_equals_the_closed_form(d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    m1, m2, s1, s2 = rng.normal(size=d), rng.normal(size=d), rng.uniform(0, 3, d), rng.uniform(0, 3, d)
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    assert frechet_distance(Gaussian(m1, np.diag(s1**2)), Gaussian(m2, np.diag(s2**2))) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_distance_equals_the_matrix_square_root_and_is_symmetric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = fit(draw(rng, 80, 12)), fit(draw(rng, 50, 12))
    root = np.real(sqrtm(a.covariance @ b.covariance))
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_distance_of_fewer_images_than_features_equals_that_of_their_factors(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 30)), rng.normal(size=(m, 30)) + 1
    assert frechet_distance(fit(x), fit(y)) == pytest.approx(distance_of_features(x, y), rel=1e-6)


def decaying(rng: np.random.Generator, n: int, d: int, shift: float) -> NDArray[np.float32]:
    """Features as a network's: not negative, with variances over four orders of magnitude."""
    rotation = np.linalg.qr(np.random.default_rng(7).normal(size=(d, d)))[0]
    scales = np.exp(-9.2 * np.arange(d) / d)
    return np.maximum(rng.normal(size=(n, d)) * scales @ rotation + 0.3 + shift, 0).astype(np.float32)


@pytest.mark.parametrize(("n", "m"), [(600, 500), (40, 600), (30, 50)])
def test_distance_equals_that_of_singular_values_of_the_features_themselves(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    x, y = decaying(rng, n, 192, 0), decaying(rng, m, 192, 0.05)
    source = f"singular values in float64, {n} and {m} images of 192 features"
    near("Frechet distance", frechet_distance(fit(x), fit(y)), distance_of_features(x, y), source)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_has_no_distance(wrong: float) -> None:
    good = Gaussian(np.zeros(2), np.eye(2))
    broken = np.array([[1, 0], [0, wrong]])
    for bad in (Gaussian(np.array([0, wrong]), np.eye(2)), Gaussian(np.zeros(2), broken)):
        with pytest.raises(NonFiniteError):
            frechet_distance(good, bad)
        with pytest.raises(NonFiniteError):
            frechet_distance(bad, good)


@pytest.mark.parametrize("n", [5, 100])
def test_distance_of_a_set_to_itself_is_zero(n: int) -> None:
    a = fit(draw(np.random.default_rng(0), n, 20))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, a) >= 0
