"""What a pass leaves is the same for any cut, and does not hold on to the batches that it came from."""

from pathlib import Path

import numpy as np
import pytest

from d2it.evaluation.extractor import Features
from d2it.evaluation.frechet import GaussianStatistics
from d2it.evaluation.inception_score import InceptionScore
from d2it.evaluation.statistics import FeatureFile, ImageStatistics, Wanted

N, WIDTH = 40, 5
RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(N, WIDTH)).astype(np.float32)
SPATIAL = RNG.normal(size=(N, 2023)).astype(np.float32)
PROBABILITIES = RNG.dirichlet(np.ones(1008), N).astype(np.float32)
LABELS = RNG.integers(0, 3, N)
NUMBERS = RNG.normal(size=(N, 2))
ALL = Wanted(pool=True, spatial=True, score=True, classes=3, numbers=2)


def statistics(wanted: Wanted, start: int, stop: int) -> ImageStatistics:
    rows = slice(start, stop)
    of_rows = ImageStatistics(wanted, N, WIDTH)
    of_rows.add(start, Features(POOL[rows], SPATIAL[rows], PROBABILITIES[rows]), LABELS[rows], NUMBERS[rows])
    return of_rows


def test_parts_that_are_sent_and_merged_give_what_all_images_give() -> None:
    merged = ImageStatistics(ALL, N, WIDTH)
    for start, stop in ((0, 7), (7, 30), (30, N)):
        merged.merge(statistics(ALL, start, stop).arrays())
    pool, score = GaussianStatistics(WIDTH), InceptionScore(N, 1008)
    pool.add(POOL)
    score.add(0, PROBABILITIES)
    assert merged.pool is not None
    assert merged.spatial is not None
    assert merged.score is not None
    assert merged.classes is not None
    np.testing.assert_allclose(merged.pool.gaussian().covariance, pool.gaussian().covariance, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(merged.spatial.gaussian().mean, SPATIAL.mean(0, np.float64), rtol=1e-9, atol=1e-12)
    assert merged.score.score() == pytest.approx(score.score())
    counts, sums, _ = merged.classes.arrays()
    assert counts.tolist() == np.bincount(LABELS).tolist()
    np.testing.assert_allclose(sums[1], POOL[LABELS == 1].sum(0, np.float64), rtol=1e-10)
    np.testing.assert_allclose(merged.means, NUMBERS.mean(0), rtol=1e-12)


def test_only_what_is_wanted_is_computed() -> None:
    alone = statistics(Wanted(pool=True, numbers=2), 0, N)
    assert (alone.spatial, alone.score, alone.classes) == (None, None, None)
    assert len(alone.arrays()) == 4


def test_features_on_disk_are_those_that_were_written(tmp_path: Path) -> None:
    file = FeatureFile(tmp_path / "new", WIDTH)
    assert len(file) == 0
    assert file[:].shape == (0, WIDTH)
    for start in range(0, N, 7):
        file.append(POOL[start : start + 7])
    assert len(file.rows) == N
    np.testing.assert_array_equal(file[:], POOL)
    np.testing.assert_array_equal(file[30:100], POOL[30:])
    np.testing.assert_array_equal(file.take(np.array([5, 3, 39])), POOL[[5, 3, 39]])
    assert list((tmp_path / "new").iterdir()) == [], "gone with the process, whatever ends it"
