import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from torch_fidelity.metric_isc import isc_features_to_metric

from d2it.evaluation.inception_score import InceptionScore
from tests.evaluation.conftest import near


@given(st.integers(1, 6), st.integers(0, 40), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_mean_and_deviation_equal_the_direct_sums_for_any_batches_in_any_order(
    splits: int, more: int, batch: int, seed: int
) -> None:
    rng, n = np.random.default_rng(seed), splits + more
    p = rng.dirichlet(np.full(6, 0.5), n)
    ours, others = InceptionScore(n, 6, splits), InceptionScore(n, 6, splits)
    for first in rng.permutation(np.arange(0, n, batch)):
        (ours if rng.random() < 0.5 else others).add(first, p[first : first + batch])
    ours.merge(InceptionScore.from_arrays(*others.arrays()))
    parts = [p[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    expected = [np.exp(np.mean([entropy(row, part.mean(0)) for row in part])) for part in parts]
    assert ours.score().mean == pytest.approx(np.mean(expected))
    assert ours.score().deviation == pytest.approx(np.std(expected), abs=1e-9)


@pytest.mark.parametrize("images", [10_000, 1234])
def test_equals_torch_fidelitys_for_any_number_of_images(images: int) -> None:
    logits = 3 * torch.randn(images, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = isc_features_to_metric(logits, splits=10, shuffle=False)
    score = InceptionScore(images, 50)
    score.add(0, logits.softmax(1).numpy())
    source = f"torch-fidelity, {images} images"
    near("Inception score, mean", score.score().mean, theirs["inception_score_mean"], source)
    near("Inception score, deviation", score.score().deviation, theirs["inception_score_std"], source)


def test_equals_the_adm_evaluators_formula_for_50000_samples() -> None:
    """Which takes parts of 5000 images, whatever their number."""
    p = np.random.default_rng(0).dirichlet(np.full(20, 0.3), 50_000).clip(1e-30)
    parts = p.reshape(10, 5000, 20)
    divergence = (parts * (np.log(parts) - np.log(parts.mean(1, keepdims=True)))).sum(2).mean(1)
    score = InceptionScore(50_000, 20)
    score.add(0, p)
    near("Inception score, mean", score.score().mean, float(np.exp(divergence).mean()), "ADM's formula, 50,000 images")


def test_score_is_the_number_of_classes_for_certain_and_varied_images_and_1_for_equal_ones() -> None:
    certain, equal = InceptionScore(14, 7, splits=2), InceptionScore(9, 7, splits=1)
    certain.add(0, np.tile(np.eye(7, dtype=np.float32), (2, 1)))
    equal.add(0, np.full((9, 7), 1 / 7))
    assert certain.score() == pytest.approx((7, 0))
    assert equal.score() == pytest.approx((1, 0))


def test_too_few_too_many_missing_or_repeated_images_are_refused() -> None:
    with pytest.raises(ValueError, match="9 images: an Inception score over 10 splits needs at least 10"):
        InceptionScore(9, 3)
    score = InceptionScore(12, 3)
    score.add(0, np.full((6, 3), 1 / 3))
    with pytest.raises(ValueError, match="6 images: must be each of the 12 announced, once"):
        score.score()
    with pytest.raises(ValueError, match="image 12: must be below the 12 announced"):
        score.add(6, np.full((7, 3), 1 / 3))
    score.add(0, np.full((6, 3), 1 / 3))
    with pytest.raises(ValueError, match="12 images: must be each of the 12 announced, once"):
        score.score()
