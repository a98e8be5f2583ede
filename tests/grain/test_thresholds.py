"""Thresholds give the asked share of each grain on the data they come from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2it.grain.thresholds import entropy_quantiles, entropy_thresholds, grain_counts, grain_maps, reached_shares


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ratio=st.floats(0, 1))
def test_measured_fine_ratio_is_the_asked_one_within_a_point(seed: int, ratio: float) -> None:
    entropy = np.random.default_rng(seed).gamma(2.0, 1.0, (500, 4, 4)).astype(np.float32)
    maps = grain_maps(entropy, entropy_thresholds(entropy_quantiles([entropy]), [1 - ratio, ratio]))
    assert grain_counts(maps, 2)[:, 1].sum() / maps.size == pytest.approx(ratio, abs=0.01)


def test_three_grains_get_their_shares_and_finer_means_more_entropy() -> None:
    entropy = np.random.default_rng(0).normal(3, 1, (1000, 4, 4)).astype(np.float32)
    maps = grain_maps(entropy, entropy_thresholds(entropy_quantiles([entropy]), [0.5, 0.3, 0.2]))
    np.testing.assert_allclose(grain_counts(maps, 3).sum(0) / maps.size, [0.5, 0.3, 0.2], atol=0.01)
    assert entropy[maps == 0].max() <= entropy[maps == 1].min() <= entropy[maps == 1].max() <= entropy[maps == 2].min()


@pytest.mark.parametrize(("ratio", "grain"), [(0.0, 0), (1.0, 1)])
def test_ratio_0_is_all_coarse_and_1_all_fine_for_entropies_never_seen(ratio: float, grain: int) -> None:
    seen = np.random.default_rng(0).uniform(2, 3, (10, 4, 4)).astype(np.float32)
    thresholds = entropy_thresholds(entropy_quantiles([seen]), [1 - ratio, ratio])
    assert (grain_maps(np.array([0.0, 2.5, 99.0]), thresholds) == grain).all()


def test_the_threshold_belongs_to_the_data_set_so_an_image_may_be_all_of_one_grain() -> None:
    entropy = np.concatenate([np.full((5, 2, 2), 1.0), np.full((5, 2, 2), 4.0)]) + np.arange(10)[:, None, None] * 1e-3
    entropy = entropy.astype(np.float32)
    maps = grain_maps(entropy, entropy_thresholds(entropy_quantiles([entropy]), [0.5, 0.5]))
    assert (maps[:5] == 0).all()
    assert (maps[5:] == 1).all()


def test_one_grain_needs_no_threshold() -> None:
    assert entropy_thresholds(np.linspace(0, 1, 11), [1.0]) == []
    assert (grain_maps(np.array([0.1, 5.0]), []) == 0).all()


def test_shares_that_equal_entropies_make_unreachable_are_those_that_are_reached() -> None:
    """Three of four regions are flat: 0.5 was asked for, 0.25 is fine."""
    entropy = np.concatenate([np.full(7500, 1.5), np.linspace(2, 3, 2500)]).astype(np.float32)
    quantiles = entropy_quantiles([entropy])
    thresholds = entropy_thresholds(quantiles, [0.5, 0.5])
    assert reached_shares(quantiles, thresholds) == pytest.approx([0.75, 0.25], abs=0.001)
    assert np.mean(grain_maps(entropy, thresholds)) == pytest.approx(0.25, abs=0.001)
    reachable = entropy_thresholds(quantiles, [0.8, 0.2])
    assert reached_shares(quantiles, reachable) == pytest.approx([0.8, 0.2], abs=0.001)
    assert reached_shares(quantiles, []) == [1.0]
