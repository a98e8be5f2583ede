"""Numbers that judge sampled grain maps."""

import numpy as np
import pytest

from d2it.evaluation.grain_maps import (
    compare_maps,
    fine_frequency,
    frequent_patterns,
    neighbour_agreement,
    pattern_frequencies,
)


def test_equal_sets_of_maps_differ_in_nothing() -> None:
    maps = np.random.default_rng(0).integers(0, 3, (20, 4, 4)).astype(np.uint8)
    numbers = compare_maps(maps, maps, 3)
    differences = [name for name in numbers if "difference" in name or name == "pattern_total_variation"]
    assert len(differences) == 4
    assert [numbers[name] for name in differences] == [0, 0, 0, 0]
    for name in ("fine_ratio", "fine_ratio_spread", "neighbour_agreement"):
        assert numbers[name] == numbers[f"{name}_real"]


def test_maps_without_structure_are_told_from_smooth_ones_of_the_same_ratio() -> None:
    rng = np.random.default_rng(0)
    smooth = np.repeat(rng.integers(0, 2, (500, 1, 1)), 16, 1).reshape(500, 4, 4).astype(np.uint8)
    rough = rng.integers(0, 2, (500, 4, 4)).astype(np.uint8)
    numbers = compare_maps(rough, smooth, 2)
    assert numbers["fine_ratio_difference"] < 0.1
    assert numbers["pattern_total_variation"] > 0.8
    assert numbers["neighbour_agreement_real"] == 1
    assert numbers["neighbour_agreement"] == pytest.approx(0.5, abs=0.03)


def test_maps_of_the_same_ratio_that_are_fine_at_other_places_differ_in_the_frequency_at_each_position() -> None:
    left, right = np.zeros((10, 2, 4), np.uint8), np.zeros((10, 2, 4), np.uint8)
    left[:, :, :2], right[:, :, 1:3] = 1, 1
    numbers = compare_maps(left, right, 2)
    assert numbers["fine_ratio_difference"] == 0
    assert numbers["position_frequency_difference"] == 0.5
    assert numbers["position_frequency_difference_largest"] == 1
    np.testing.assert_array_equal(fine_frequency(left, 2), [[1, 1, 0, 0]] * 2)


def test_the_spread_of_the_fine_ratio_tells_one_map_from_another() -> None:
    even = np.tile(np.eye(2, dtype=np.uint8), (10, 1, 1))
    extreme = np.repeat(np.arange(10) % 2, 4).reshape(10, 2, 2).astype(np.uint8)
    numbers = compare_maps(even, extreme, 2)
    assert (numbers["fine_ratio_spread"], numbers["fine_ratio_spread_real"]) == (0, 0.5)


def test_frequent_patterns_are_those_of_the_real_maps_with_both_shares() -> None:
    real = np.array([[[0, 2], [1, 1]], [[0, 2], [1, 1]], [[2, 2], [2, 2]]], np.uint8)
    sampled = np.full((2, 2, 2), 2, np.uint8)
    patterns = frequent_patterns(sampled, real, 3, 2)
    assert [pattern for pattern, _, _ in patterns] == ["02/11", "22/22"]
    assert [shares for _, *shares in patterns] == [pytest.approx([0, 2 / 3]), pytest.approx([1, 1 / 3])]
    assert frequent_patterns(sampled[:, :1, :1], real[:, :1, :1], 3, 1) == [("0", 0, pytest.approx(2 / 3))]


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
