"""What is computed together is what each metric gives alone."""

import numpy as np
import pytest

from d2it.evaluation.all_pairs import kid, kid_and_precision_recall, precision_recall


@pytest.mark.parametrize("rows", [7, 16, 1024])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (50, 17), (9, 64)])
def test_kid_precision_and_recall_together_equal_each_alone(n: int, m: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    real, samples = rng.normal(size=(n, 6)), rng.normal(size=(m, 6)) * 0.8 + 0.2
    both = kid_and_precision_recall(real, samples, neighbours=3, rows=rows)
    assert both == (kid(real, samples, rows), precision_recall(real, samples, 3, rows))


@pytest.mark.parametrize("rows", [5, 1024])
def test_copies_lie_within_each_others_balls(rows: int) -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(30, 8)).astype(np.float32)
    assert precision_recall(real, real[::-1], 3, rows) == (1, 1)
    assert precision_recall(real, real + 1000, 3, rows) == (0, 0)
