import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2it.evaluation.precision_recall import nearest, precision_recall


def share_within(points: NDArray[np.floating], centres: NDArray[np.floating], k: int) -> float:
    inside = 0
    for point in points:
        for i, centre in enumerate(centres):
            others = sorted(float(np.linalg.norm(centre - other)) for j, other in enumerate(centres) if j != i)
            if np.linalg.norm(point - centre) <= others[k - 1]:
                inside += 1
                break
    return inside / len(points)


@given(st.integers(5, 18), st.integers(5, 18), st.integers(1, 4), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_equal_brute_force_for_any_block_size(n: int, m: int, k: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    real, samples = rng.normal(size=(n, 2)), rng.normal(size=(m, 2)) + rng.normal(size=2)
    measured = precision_recall(real, samples, k, rows)
    assert measured.precision == share_within(samples, real, k)
    assert measured.recall == share_within(real, samples, k)
    expected = [min(range(n), key=lambda i: float(np.linalg.norm(real[i] - sample))) for sample in samples]
    assert nearest(samples, real, rows).tolist() == expected


def test_samples_of_one_mode_are_precise_and_have_low_recall() -> None:
    rng = np.random.default_rng(0)
    modes = np.repeat([[0.0, 0.0], [100.0, 0.0]], 50, 0)
    real = modes + rng.normal(size=(100, 2))
    samples = rng.normal(size=(100, 2)) * 0.5
    measured = precision_recall(real, samples, 3)
    assert measured.precision > 0.9
    assert measured.recall < 0.5


def test_more_neighbours_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours = 3: must be below the number of sampled images, 3"):
        precision_recall(np.zeros((9, 2)), np.zeros((3, 2)), 3)
