from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch_fidelity.metric_prc import prc_features_to_metric

from d2it.errors import NonFiniteError
from d2it.evaluation.all_pairs import precision_recall
from d2it.evaluation.precision_recall import nearest
from tests.evaluation.conftest import near


def share_within(points: NDArray[np.floating], centres: NDArray[np.floating], k: int) -> float:
    inside = 0
    for point in points:
        for i, centre in enumerate(centres):
            others = sorted(float(np.linalg.norm(centre - other)) for j, other in enumerate(centres) if j != i)
            if np.linalg.norm(point - centre) <= others[k - 1]:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.slow
@given(st.integers(5, 18), st.integers(5, 18), st.integers(1, 4), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_equal_brute_force_for_any_block_size(n: int, m: int, k: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    real, samples = rng.normal(size=(n, 2)), rng.normal(size=(m, 2)) + rng.normal(size=2)
    measured = precision_recall(real, samples, k, rows)
    assert measured.precision == share_within(samples, real, k)
    assert measured.recall == share_within(real, samples, k)
    expected = [min(range(n), key=lambda i: float(np.linalg.norm(real[i] - sample))) for sample in samples]
    assert nearest(samples, real, rows).tolist() == expected


def test_equal_torch_fidelitys_with_more_samples_than_real_images() -> None:
    rng = np.random.default_rng(1)
    real, samples = rng.normal(size=(500, 6)), rng.normal(size=(1300, 6)) * 0.9 + 0.3
    theirs = prc_features_to_metric(torch.from_numpy(samples), torch.from_numpy(real), verbose=False)
    ours = precision_recall(real, samples, 3)
    source = "torch-fidelity, 1,300 samples and 500 images"
    near("precision", ours.precision, theirs["precision"], source)
    near("recall", ours.recall, theirs["recall"], source)


def test_a_set_of_a_file_is_read_in_blocks_to_the_same_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    real, samples = (rng.normal(size=(n, 8)).astype(np.float32) for n in (60, 90))
    file = np.memmap(tmp_path / "features", np.float32, "w+", shape=samples.shape)
    file[:] = samples
    assert precision_recall(real, file, 3, rows=16) == precision_recall(real, samples, 3, rows=16)


def test_the_number_of_threads_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    real, samples = rng.normal(size=(200, 8)), rng.normal(size=(300, 8))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, closest = precision_recall(real, samples, 3, rows=32), nearest(samples, real, rows=32)
        torch.set_num_threads(3)
        assert precision_recall(real, samples, 3, rows=32) == one
        np.testing.assert_array_equal(nearest(samples, real, rows=32), closest)
    finally:
        torch.set_num_threads(threads)


def test_samples_of_one_mode_are_precise_and_have_low_recall() -> None:
    rng = np.random.default_rng(0)
    modes = np.repeat([[0.0, 0.0], [100.0, 0.0]], 50, 0)
    real = modes + rng.normal(size=(100, 2))
    samples = rng.normal(size=(100, 2)) * 0.5
    measured = precision_recall(real, samples, 3)
    assert measured.precision > 0.9
    assert measured.recall < 0.5


def test_more_neighbours_than_images_and_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours = 3: must be below the number of sampled images, 3"):
        precision_recall(np.zeros((9, 2)), np.zeros((3, 2)), 3)
    broken = np.zeros((9, 2))
    broken[4, 1] = np.inf
    with pytest.raises(NonFiniteError):
        precision_recall(np.zeros((9, 2)), broken, 3)
