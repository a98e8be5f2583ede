import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from d2it.evaluation.inception_score import InceptionScore


@given(st.integers(1, 40), st.integers(1, 15), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_score_equals_the_direct_sum_for_any_batch_size(n: int, batch: int, split: int, seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.full(6, 0.5), n)
    score = InceptionScore(split)
    for start in range(0, n, batch):
        score.add(p[start : start + batch])
    parts = [p[start : start + split] for start in range(0, n, split)]
    expected = np.mean([np.exp(np.mean([entropy(row, part.mean(0)) for row in part])) for part in parts])
    assert score.score() == pytest.approx(expected)


def test_score_is_the_number_of_classes_for_certain_and_varied_images_and_1_for_equal_ones() -> None:
    certain, equal = InceptionScore(), InceptionScore()
    certain.add(np.eye(7, dtype=np.float32))
    equal.add(np.full((9, 7), 1 / 7))
    assert certain.score() == pytest.approx(7)
    assert equal.score() == pytest.approx(1)


def test_no_images_have_no_score() -> None:
    with pytest.raises(ValueError, match="no images"):
        InceptionScore().score()
