"""A verdict is wrong as rarely as it says, in simulated tables whose truth is known."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from ablations.verdict import Cell, Rule, Values, seeds_to_decide, verdicts

TABLES = 800  # simulated for each rate
SETTINGS, TRAINING, SAMPLING = 4, 0.03, 0.01  # and standard deviations of a seed's part and of a sampling's


def simulated(g: np.random.Generator, means: list[float], seeds: int, samplings: int = 2) -> list[Values]:
    """Settings share a part of each seed's luck, as their DVAE and data order are the same."""
    common = g.normal(0, 0.1, seeds)
    return [
        {
            Cell(seed, sampling): mean + common[seed] + own + g.normal(0, SAMPLING)
            for seed, own in enumerate(g.normal(0, TRAINING, seeds))
            for sampling in range(samplings)
        }
        for mean in means
    ]


def share(count: int) -> float:
    """Of the simulated tables, with three standard errors of a rate of 5 %."""
    return count / TABLES - 3 * math.sqrt(0.05 * 0.95 / TABLES)


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_a_table_without_differences_decides_a_pair_in_five_of_a_hundred_at_most(seeds: int) -> None:
    g = np.random.default_rng(seeds)
    wrong = sum(
        any(pair.verdict != "inconclusive" for pair in verdicts(simulated(g, [1.0] * SETTINGS, seeds), True))
        for _ in range(TABLES)
    )
    assert share(wrong) <= 0.05


def test_with_some_settings_different_equal_ones_are_decided_as_rarely() -> None:
    g = np.random.default_rng(0)
    wrong = 0
    for _ in range(TABLES):
        pairs = verdicts(simulated(g, [1.0, 1.0, 1.0, 1.5], 5), True)
        assert len(pairs) == 6
        wrong += any(pair.verdict != "inconclusive" for pair in pairs if pair.second != 3)
        assert not any(pair.verdict == "worse" for pair in pairs if pair.second == 3)
    assert share(wrong) <= 0.05


def test_looking_after_each_seed_and_stopping_at_the_first_verdict_is_wrong_as_rarely() -> None:
    g = np.random.default_rng(1)
    first, most = 3, 8
    rule = Rule(looks=most - first + 1)

    def ever_decided(settings: list[Values]) -> bool:
        return any(
            pair.verdict != "inconclusive"
            for seeds in range(first, most + 1)
            for pair in verdicts([{c: v for c, v in one.items() if c.seed < seeds} for one in settings], True, rule)
        )

    tables = [simulated(g, [1.0] * 3, most) for _ in range(TABLES // 2)]
    assert sum(map(ever_decided, tables)) / len(tables) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(tables))


def test_uncorrected_looks_would_be_wrong_more_often() -> None:
    """Else the test above could not fail."""
    g = np.random.default_rng(1)
    wrong = 0
    for _ in range(TABLES // 2):
        settings = simulated(g, [1.0] * 2, 8)
        wrong += any(
            verdicts([{c: v for c, v in one.items() if c.seed < seeds} for one in settings], True)[0].p < 0.05
            for seeds in range(3, 9)
        )
    assert wrong / (TABLES // 2) > 0.08


def test_a_small_difference_is_rarely_seen_and_more_rarely_the_wrong_way_round() -> None:
    g = np.random.default_rng(6)
    pairs = [verdicts(simulated(g, [1.0, 1.02], 4), True)[0] for _ in range(TABLES)]
    assert 0 < sum(pair.verdict == "better" for pair in pairs) < TABLES / 2
    assert sum(pair.verdict == "worse" for pair in pairs) / TABLES < 0.025


def test_a_large_difference_is_seen_and_has_the_right_sign() -> None:
    g = np.random.default_rng(2)
    pairs = [verdicts(simulated(g, [1.0, 1.4], 4), True)[0] for _ in range(300)]
    assert sum(pair.verdict == "better" for pair in pairs) > 285
    assert not any(pair.verdict == "worse" for pair in pairs)


def test_the_smallest_difference_that_could_have_been_seen_is_seen_in_four_of_five() -> None:
    g = np.random.default_rng(3)
    seeds = 10
    pairs = [verdicts(simulated(g, [1.0, 1.0], seeds), True)[0] for _ in range(TABLES)]
    claimed = float(np.mean([pair.detectable**2 for pair in pairs]) ** 0.5)
    seen = np.mean([verdicts(simulated(g, [1.0 + claimed, 1.0], seeds), True)[0].p < 0.05 for _ in range(TABLES)])
    assert seen == pytest.approx(0.8, abs=0.05)


def test_without_other_pairs_it_is_the_paired_t_test() -> None:
    g = np.random.default_rng(4)
    one, other = simulated(g, [1.0, 1.02], 5, samplings=1)
    (pair,) = verdicts([one, other], True)
    expected = ttest_rel([*one.values()], [*other.values()])
    assert pair.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (pair.difference - pair.half_width, pair.difference + pair.half_width) == pytest.approx((low, high))


def test_holm_multiplies_by_the_pairs_that_are_left_and_never_falls() -> None:
    g = np.random.default_rng(5)
    settings = simulated(g, [1.0, 1.05, 1.1], 4)
    alone = {(a, b): verdicts([settings[a], settings[b]], True)[0].p for a, b in itertools.combinations(range(3), 2)}
    ranked = sorted(alone, key=lambda places: alone[places])
    expected, running = {}, 0.0
    for left, places in zip((3, 2, 1), ranked, strict=True):
        running = max(running, min(1.0, left * alone[places]))
        expected[places] = running
    assert {(pair.first, pair.second): pair.p for pair in verdicts(settings, True)} == pytest.approx(expected)


@pytest.mark.parametrize(("lower", "verdict"), [(True, "better"), (False, "worse")])
def test_better_is_lower_or_higher_as_the_metric_says(lower: bool, verdict: str) -> None:
    settings = [{Cell(seed): mean + seed / 1000 + seed % 2 / 5000 * mean for seed in range(4)} for mean in (1.0, 2.0)]
    assert verdicts(settings, lower)[0].verdict == verdict


def test_a_certain_difference_below_the_floor_is_no_verdict() -> None:
    settings = [{Cell(seed): mean + seed % 2 * mean / 10000 for seed in range(6)} for mean in (1.0, 1.01)]
    (pair,) = verdicts(settings, True)
    assert pair.p < 0.001
    assert (pair.verdict, pair.why) == ("inconclusive", "closer than the floor")
    assert verdicts(settings, True, Rule(floor=0.005))[0].verdict == "better"


def test_only_what_both_have_is_compared_and_another_sampling_is_no_other_seed() -> None:
    one = {Cell(0, 0): 1.0, Cell(0, 1): 3.0, Cell(1, 0): 2.0, Cell(2, 0): 9.0}
    other = {Cell(0, 0): 0.5, Cell(0, 1): 1.5, Cell(1, 0): 1.0, Cell(1, 1): 5.0}
    assert verdicts([one, other], True)[0].differences == (1.0, 1.0)


def test_one_seed_decides_nothing_and_equal_numbers_are_named() -> None:
    (pair,) = verdicts([{Cell(0): 1.0}, {Cell(0): 9.0}], True)
    assert (pair.verdict, pair.why, pair.p) == ("inconclusive", "fewer than two seeds", 1.0)
    same = {Cell(0): 1.0, Cell(1): 2.0}
    (pair,) = verdicts([same, same], True)
    assert (pair.verdict, pair.why) == ("inconclusive", "the same numbers")
    assert verdicts([{}, same], True)[0].verdict == "inconclusive"


def test_seeds_to_decide_are_those_with_which_the_same_differences_would_decide() -> None:
    one = {Cell(seed): 1.0 + 0.05 * (-1) ** seed for seed in range(4)}
    other = {Cell(seed): 1.1 for seed in range(4)}
    rule = Rule()
    (pair,) = verdicts([one, other], True, rule)
    needed = seeds_to_decide(pair, rule, 50)
    assert needed is not None
    if pair.verdict == "inconclusive":
        margin = [abs(pair.difference) * math.sqrt(n) / pair.spread for n in (needed - 1, needed)]
        assert margin[0] < margin[1]
    assert seeds_to_decide(pair, Rule(floor=0.5), 50) is None
