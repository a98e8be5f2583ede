"""Words about numbers say what the numbers say."""

import pytest

from ablations.summary import Summary, best, difference, shape_in_words, summarize


def test_spread_is_the_sample_standard_deviation_and_one_seed_has_none() -> None:
    assert summarize([1.0, 3.0]) == Summary(2.0, pytest.approx(2**0.5), 2)
    assert summarize([1.0]) == Summary(1.0, None, 1)
    assert summarize([]) is None
    assert summarize([23.0, 23.5]).text().replace("\u00a0", " ") == "23.25 ± 0.35 (n = 2)"  # type: ignore[union-attr]


def test_the_best_is_the_lowest_or_highest_of_what_is_there() -> None:
    assert best([2.0, None, 1.0], lower_is_better=True) == 1.0
    assert best([2.0, None, 1.0], lower_is_better=False) == 2.0
    assert best([None], lower_is_better=True) is None


@pytest.mark.parametrize(
    ("value", "best_value", "text"),
    [(23.5, 22.11, "+1.39"), (20.9, 21.4, "−0.50"), (2.0, 2.0, "best"), (None, 2.0, "")],
)
def test_a_difference_to_the_best_has_its_sign_and_decimals(value: float | None, best_value: float, text: str) -> None:
    assert difference(value, best_value) == text


@pytest.mark.parametrize(("means", "where"), [([3, 1, 2], "in between"), ([1, 2, 3], "an end")])
def test_a_best_in_between_is_not_one_at_an_end(means: list[float], where: str) -> None:
    words = shape_in_words("best in between", [0.1, 0.5, 0.9], [Summary(m, None, 1) for m in means], lower=True)
    assert words.endswith(f"{where}.")


def test_a_falling_curve_falls_in_all_steps_whatever_the_order_of_rows() -> None:
    words = shape_in_words("falls", [0.9, 0.1, 0.5], [Summary(m, None, 1) for m in (1.0, 3.0, 2.0)], lower=True)
    assert "2 of 2 steps." in words
