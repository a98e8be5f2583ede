"""Height and width: a square is one number wherever it is written."""

from typing import Any

import pytest

from d2it.size import Size


@pytest.mark.parametrize(
    ("given", "size"), [(64, (64, 64)), ([64, 96], (64, 96)), ((96, 64), (96, 64)), ([64, 64], (64, 64))]
)
def test_one_number_is_a_square_and_two_are_height_and_width(given: Any, size: tuple[int, int]) -> None:
    assert Size.of(given) == size
    assert (Size.of(given).height, Size.of(given).width) == size


def test_only_what_is_no_square_is_written_as_two_numbers() -> None:
    assert Size(64, 64).plain == 64
    assert Size(64, 96).plain == [64, 96]
    assert Size.of(Size(64, 96).plain) == (64, 96)
    assert [f"{Size(64, width)} pixels" for width in (64, 96)] == ["64 x 64 pixels", "64 x 96 (height x width) pixels"]


@pytest.mark.parametrize(
    "given", [0, -8, [], [64], [64, 96, 3], [64, 0], [64, 96.0], 64.0, "64", None, True, [64, True], {64: 96}]
)
def test_anything_else_is_refused_with_what_is_allowed(given: Any) -> None:
    with pytest.raises(ValueError, match=r"must be a whole number above 0, or two, \[height, width\]$") as error:
        Size.of(given)
    assert str(error.value).startswith(f"{given!r}: ")


def test_times_and_divided_act_on_both() -> None:
    assert Size(64, 96).divided(16) == (4, 6)
    assert Size(4, 6).times(2) == (8, 12)
    assert Size(4, 6).area == 24
