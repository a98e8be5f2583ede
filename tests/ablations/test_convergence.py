"""When a training reaches a value is read off straight lines between its lengths."""

import pytest

from ablations.convergence import Length, Reached, common_level, reached

D2IT = [Length(100, 8.0, 3.0, 10.0), Length(200, 4.0, 3.0, 10.0), Length(400, 3.0, 3.0, 10.0)]
DIT = [Length(400, 6.0), Length(100, 9.0), Length(200, 8.0)]


def test_the_level_is_the_best_that_all_lines_reach() -> None:
    assert common_level({"d2it": D2IT, "dit": DIT}, lower_is_better=True) == 6.0
    assert common_level({"a": [Length(1, 2.0), Length(2, 5.0)], "b": [Length(1, 4.0)]}, lower_is_better=False) == 4.0


def test_images_operations_and_seconds_to_a_value() -> None:
    assert reached(D2IT, 6.0, True) == Reached(150, 450, 15)
    assert reached(DIT, 6.0, True) == Reached(400, None, None)
    assert reached(D2IT, 9.0, True).images == 100
    assert reached(D2IT, 2.0, True) == Reached()


def test_a_metric_that_rises_is_reached_from_below() -> None:
    rising = [Length(100, 0.2), Length(300, 0.4)]
    assert reached(rising, 0.3, lower_is_better=False).images == pytest.approx(200)


def test_the_first_crossing_counts_where_a_curve_turns_back() -> None:
    turning = [Length(1, 5.0), Length(2, 3.0), Length(3, 6.0), Length(4, 2.0)]
    assert reached(turning, 4.0, True).images == 1.5
