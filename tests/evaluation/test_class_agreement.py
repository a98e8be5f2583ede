from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from d2it.errors import NonFiniteError
from d2it.evaluation.class_agreement import ClassStatistics, agreement
from tests.evaluation.conftest import near

CLASSES, WIDTH = 4, 12


def draw(rng: np.random.Generator, labels: NDArray[np.int64], apart: float = 1) -> NDArray[np.float32]:
    """Features with a mean for each class, and one covariance."""
    means = apart * np.random.default_rng(9).normal(size=(CLASSES, WIDTH))
    mixed = rng.normal(size=(len(labels), WIDTH)) @ np.random.default_rng(8).normal(size=(WIDTH, WIDTH))
    return (means[labels] + mixed).astype(np.float32)


def statistics(features: NDArray[np.floating], labels: NDArray[np.int64]) -> ClassStatistics:
    result = ClassStatistics(features.shape[1], CLASSES)
    result.add(features, labels)
    return result


@pytest.mark.parametrize("shrinkage", [0.1, 0.7])
@pytest.mark.parametrize("images", [400, 8])
def test_equals_scikit_learns_discriminant_analysis(images: int, shrinkage: float) -> None:
    """8 images: fewer than features, two of each class."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % CLASSES
    features = draw(rng, labels)
    ours = statistics(features, labels).fit(shrinkage)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=np.full(CLASSES, 1 / CLASSES))
    theirs.fit(features.astype(np.float64), labels)
    source = f"scikit-learn, {images} images, shrinkage {shrinkage}"
    near("class agreement, norm of weights", np.linalg.norm(ours.weights), np.linalg.norm(theirs.coef_), source)
    np.testing.assert_allclose(ours.weights, theirs.coef_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.bias, theirs.intercept_ + np.log(CLASSES), rtol=1e-6, atol=1e-7)
    others = draw(rng, labels)
    np.testing.assert_array_equal(ours.predict(others), theirs.predict(others))


def test_classes_of_different_size_share_the_covariance_by_size_and_are_equally_probable() -> None:
    """scikit-learn weights both by the priors: with those of the data, less their logarithms, it is ours."""
    rng = np.random.default_rng(1)
    labels = rng.choice(CLASSES, 300, p=[0.6, 0.2, 0.15, 0.05])
    features = draw(rng, labels)
    ours = statistics(features, labels).fit(0.1)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(features.astype(np.float64), labels)
    np.testing.assert_allclose(ours.weights, theirs.coef_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.bias, theirs.intercept_ - np.log(theirs.priors_), rtol=1e-6, atol=1e-7)


@given(st.lists(st.integers(0, 40), max_size=4), st.integers(0, 3))
def test_any_cut_and_any_merge_give_the_same_classifier(cuts: list[int], merged: int) -> None:
    labels = np.arange(40) % CLASSES
    features = draw(np.random.default_rng(2), labels)
    whole = statistics(features, labels).fit()
    ours, others = ClassStatistics(WIDTH, CLASSES), ClassStatistics(WIDTH, CLASSES)
    edges = [0, *sorted(cuts), 40]
    for i, (start, stop) in enumerate(pairwise(edges)):
        (others if i < merged else ours).add(features[start:stop], labels[start:stop])
    ours.merge(ClassStatistics.from_arrays(*others.arrays()))
    fitted = ours.fit()
    np.testing.assert_allclose(fitted.weights, whole.weights, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fitted.bias, whole.bias, rtol=1e-8, atol=1e-10)


def test_agreement_is_high_where_labels_are_right_and_chance_where_they_are_not() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(400) % CLASSES
    classifier = statistics(draw(rng, labels, apart=10), labels).fit()
    others = draw(rng, labels, apart=10)
    assert agreement(classifier, others, labels) > 0.95
    assert agreement(classifier, others, rng.permutation(labels)) == pytest.approx(1 / CLASSES, abs=0.08)
    assert agreement(classifier, others, (labels + 1) % CLASSES) < 0.05


def test_a_class_without_training_images_is_never_predicted() -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(90) % 3
    classifier = statistics(draw(rng, labels), labels).fit()
    assert set(classifier.predict(draw(rng, np.arange(200) % CLASSES))) == {0, 1, 2}


def test_what_no_classifier_can_be_made_of_is_refused() -> None:
    with pytest.raises(ValueError, match="1 classes with images: a classifier needs at least 2"):
        statistics(np.eye(4), np.zeros(4, np.int64)).fit()
    with pytest.raises(ValueError, match="the same features"):
        statistics(np.zeros((4, 3)), np.arange(4)).fit()
    with pytest.raises(NonFiniteError, match="covariance of features"):
        statistics(np.full((4, 3), np.nan), np.arange(4)).fit()
    labels = np.arange(8) % CLASSES
    with pytest.raises(ValueError, match="0 images without a label"):
        agreement(statistics(draw(np.random.default_rng(0), labels), labels).fit(), np.zeros((0, WIDTH)), labels[:0])


def test_images_without_a_label_teach_nothing_and_count_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % CLASSES
    features = draw(rng, labels)
    hidden = np.where(np.arange(40) < 10, -1, labels)
    classifier = statistics(features[10:], labels[10:]).fit()
    assert agreement(statistics(features, hidden).fit(), features, labels) == agreement(classifier, features, labels)
    assert agreement(classifier, features, hidden) == agreement(classifier, features[10:], labels[10:])
    with pytest.raises(ValueError, match="40 images without a label"):
        agreement(classifier, features, np.full(40, -1))
