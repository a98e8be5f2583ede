"""Numbers that judge sampled grain maps."""

import numpy as np
import pytest

from d2it.grain.statistics import compare_maps, neighbour_agreement, pattern_frequencies


def test_equal_sets_of_maps_differ_in_nothing() -> None:
    maps = np.random.default_rng(0).integers(0, 3, (20, 4, 4)).astype(np.uint8)
    found = compare_maps(maps, maps, 3)
    differences = ("fine_ratio_difference", "pattern_total_variation", "position_frequency_difference")
    assert [found[name] for name in differences] == [0, 0, 0]


def test_maps_without_structure_are_told_from_smooth_ones_of_the_same_ratio() -> None:
    rng = np.random.default_rng(0)
    smooth = np.repeat(rng.integers(0, 2, (500, 1, 1)), 16, 1).reshape(500, 4, 4).astype(np.uint8)
    rough = rng.integers(0, 2, (500, 4, 4)).astype(np.uint8)
    found = compare_maps(rough, smooth, 2)
    assert found["fine_ratio_difference"] < 0.1
    assert found["pattern_total_variation"] > 0.8
    assert found["neighbour_agreement_real"] == 1
    assert found["neighbour_agreement"] == pytest.approx(0.5, abs=0.03)


def test_pattern_frequencies_count_every_window_once() -> None:
    maps = np.array([[[0, 1, 1], [0, 0, 1]]], np.uint8)
    frequencies = pattern_frequencies(maps, 2)
    expected = np.zeros(16)
    expected[int("0100", 2)] = expected[int("1101", 2)] = 0.5
    np.testing.assert_array_equal(frequencies, expected)
    assert neighbour_agreement(maps) == pytest.approx(4 / 7)


def test_single_regions_are_no_special_case() -> None:
    maps = np.array([[[0]], [[1]], [[1]], [[1]]], np.uint8)
    assert pattern_frequencies(maps, 2).tolist() == [0.25, 0.75]
    assert compare_maps(maps, maps, 2)["neighbour_agreement"] == 1
