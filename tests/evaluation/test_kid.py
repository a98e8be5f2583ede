from itertools import combinations, product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_kid import kid_features_to_metric

from d2it.errors import NonFiniteError
from d2it.evaluation.all_pairs import kid
from d2it.evaluation.kid import Estimate
from tests.evaluation.conftest import near

Features = NDArray[np.floating]


def draw(rng: np.random.Generator, n: int, d: int, shift: float = 0) -> NDArray[np.float32]:
    """Not negative, as a network's features are."""
    return np.abs(rng.normal(size=(n, d)) + shift).astype(np.float32)


def directly(real: Features, samples: Features) -> float:
    def kernel(x: Features, y: Features) -> float:
        return (sum(float(a) * float(b) for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    within = [np.mean([kernel(x, y) for x, y in combinations(features, 2)]) for features in (real, samples)]
    return float(sum(within) - 2 * np.mean([kernel(x, y) for x, y in product(real, samples)]))


@pytest.mark.parametrize("rows", [3, 4, 100])
def test_equals_the_mean_over_pairs_for_any_block_size(rows: int) -> None:
    rng = np.random.default_rng(0)
    real, samples = draw(rng, 12, 5), draw(rng, 9, 5, 0.3)
    near("KID", kid(real, samples, rows).value, directly(real, samples), "mean over pairs, one by one")


def test_equals_torch_fidelitys_of_one_subset_that_has_all_features() -> None:
    """In float64: torch-fidelity computes in the precision of the features that it is given."""
    rng = np.random.default_rng(1)
    real, samples = draw(rng, 200, 64), draw(rng, 200, 64, 0.1)
    theirs = kid_features_to_metric(
        torch.from_numpy(real).double(), torch.from_numpy(samples).double(), kid_subsets=1, kid_subset_size=200,
        rng_seed=0, verbose=False,
    )["kernel_inception_distance_mean"]  # fmt: skip
    near("KID", kid(real, samples).value, theirs, "torch-fidelity, one subset of all, float64")


def test_the_standard_error_equals_that_of_leaving_out_each_feature_once() -> None:
    rng = np.random.default_rng(2)
    real, samples = draw(rng, 11, 4), draw(rng, 8, 4, 0.5)
    without_real = [kid(np.delete(real, i, 0), samples).value for i in range(len(real))]
    without_sample = [kid(real, np.delete(samples, i, 0)).value for i in range(len(samples))]
    variance = sum((len(values) - 1) * np.var(values) for values in (without_real, without_sample))
    near("KID, standard error", kid(real, samples).standard_error, float(np.sqrt(variance)), "left out one by one")


def estimates(n: int, m: int, shift: float) -> list[Estimate]:
    rng = np.random.default_rng(3)
    return [kid(rng.normal(size=(n, 16)), rng.normal(size=(m, 16)) + shift) for _ in range(150)]


@pytest.mark.slow
def test_it_has_no_bias_however_few_images_there_are() -> None:
    values = [estimate.value for estimate in estimates(5, 8, 0)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 1.2, 1.6), (0.7, 0.85, 1.2)])
def test_the_standard_error_is_the_spread_of_other_draws_or_up_to_root_two_of_it(
    shift: float, least: float, most: float
) -> None:
    drawn = estimates(60, 40, shift)
    spread = np.std([estimate.value for estimate in drawn])
    assert least < np.sqrt(np.mean([estimate.standard_error**2 for estimate in drawn])) / spread < most


def test_too_few_images_and_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="2 sampled images: KID and its standard error need at least 3"):
        kid(np.zeros((3, 4)), np.zeros((2, 4)))
    broken = np.zeros((5, 4))
    broken[2, 1] = np.nan
    with pytest.raises(NonFiniteError):
        kid(np.zeros((3, 4)), broken)
    with pytest.raises(NonFiniteError):
        kid(broken, np.zeros((3, 4)))


def test_the_number_of_threads_changes_no_digit() -> None:
    rng = np.random.default_rng(4)
    real, samples = draw(rng, 100, 32), draw(rng, 90, 32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = kid(real, samples, rows=16)
        torch.set_num_threads(3)
        assert kid(real, samples, rows=16) == one
    finally:
        torch.set_num_threads(threads)
