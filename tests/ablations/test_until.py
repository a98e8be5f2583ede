"""Seeds are added where they decide most, within the budget, and a second call goes on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ablations import experiments, until
from ablations.__main__ import main
from ablations.looks import LooksError, read
from ablations.plan import Experiment
from ablations.tables import read_tables
from ablations.until import SequentialTable, Until
from d2it.cost.rate import Rate
from pipeline.errors import StageError
from tests.ablations.handmade import HandMade

pytestmark = pytest.mark.slow

WINDOW = read_tables()["window"]
MEANS = {"without": 0.40, "8": 0.20, "4": 0.300, "2": 0.310}
KEY = "fid.fd_efficientnet_lite0"
RATE = Rate(1e12, 1e12, "assumed")


class Runner:
    """Stands in for DVC's queue, which test_run.py tests: experiments are done at once, with numbers of known means."""

    def __init__(self, made: HandMade, spread: float, failing: str = "no name") -> None:
        self.made, self.spread, self.failing = made, spread, failing
        self.ran: list[str] = []

    def run(self, wanted: Sequence[Experiment], root: Path, *, jobs: int, rate: Rate) -> int:
        assert root == self.made.folder
        assert (jobs, rate.bfloat16 > 0) == (1, True)
        there = experiments.done(root)
        for one in wanted:
            if one.name in there:
                continue
            if self.failing in one.name:
                return 1
            setting = one.name.split("-")[1]
            g = np.random.default_rng([one.seed, list(MEANS).index(setting)])
            self.made.add(one, {KEY: MEANS[setting] + g.normal(0, self.spread)})
            self.ran.append(f"{setting} {one.seed}")
        return 0


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HandMade:
    made = HandMade(tmp_path)
    monkeypatch.chdir(tmp_path)
    return made


def asked(budget: float = 3600.0, most: int = 8) -> Until:
    return Until(first=2, most=most, sampling_seeds=1, budget=budget, jobs=1, rate=RATE)


def test_pairs_that_are_far_apart_stop_early_and_close_ones_get_the_seeds(
    made: HandMade, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = Runner(made, spread=0.006)
    monkeypatch.setattr(until, "run_experiments", runner.run)
    assert SequentialTable(WINDOW, made.folder, "demo", asked()).run() == 0
    assert runner.ran[:8] == [f"{setting} {seed}" for seed in range(2) for setting in MEANS]
    seeds = {setting: sum(one.startswith(f"{setting} ") for one in runner.ran) for setting in MEANS}
    assert seeds["4"] == seeds["2"] == max(seeds.values())
    assert seeds["without"] < seeds["4"] <= 8, seeds
    printed = capsys.readouterr()
    assert "of 6 pairs; it took" in printed.out
    assert "8 against 4: better" in printed.out
    ran = len(runner.ran)
    assert SequentialTable(WINDOW, made.folder, "demo", asked()).run() == 0
    assert len(runner.ran) == ran


def test_the_budget_ends_it_and_a_larger_one_goes_on(
    made: HandMade, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner, clock = Runner(made, spread=0.05), iter(range(0, 1_000_000, 100))
    monkeypatch.setattr(until, "run_experiments", runner.run)
    monkeypatch.setattr("ablations.until.time.monotonic", lambda: float(next(clock)))
    table = SequentialTable(WINDOW, made.folder, "demo", asked(budget=250.0, most=4))
    assert table.run() == 0
    printed = capsys.readouterr()
    assert "the budget ends here" in printed.out
    assert "undecided: " in printed.err
    kept = read(table.path)
    assert kept is not None
    assert kept.seconds <= 250
    short = len(runner.ran)
    assert SequentialTable(WINDOW, made.folder, "demo", asked(budget=1e6, most=4)).run() == 0
    assert short < len(runner.ran) <= 4 * len(MEANS)


def test_other_looks_than_those_it_was_begun_with_are_refused_in_a_line(
    made: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(until, "run_experiments", Runner(made, spread=0.001).run)
    SequentialTable(WINDOW, made.folder, "demo", asked(most=3)).run()
    with pytest.raises(LooksError, match=r"begun with --seeds 2 --max-seeds 3 .* go on with the same"):
        SequentialTable(WINDOW, made.folder, "demo", asked(most=4))


def test_a_budget_that_ends_before_two_seeds_says_so_and_guesses_nothing(
    made: HandMade, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(until, "run_experiments", Runner(made, spread=0.05).run)
    clock = iter(range(0, 1_000_000, 100))
    monkeypatch.setattr("ablations.until.time.monotonic", lambda: float(next(clock)))
    SequentialTable(WINDOW, made.folder, "demo", asked(budget=50.0)).run()
    printed = capsys.readouterr()
    assert "8 against 4: fewer than two seeds" in printed.err
    assert "99 seeds" not in printed.err


def test_settings_with_the_same_numbers_get_no_seeds(made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(made, spread=0.0)
    monkeypatch.setattr(until, "run_experiments", runner.run)
    monkeypatch.setitem(MEANS, "2", MEANS["4"])
    assert SequentialTable(WINDOW, made.folder, "demo", asked()).run() == 0
    assert len(runner.ran) == 2 * len(MEANS)


def test_a_second_call_at_the_same_time_is_refused_in_a_line(made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_again(*_: object, **__: object) -> int:
        with pytest.raises(StageError, match="another call runs this table until it is decided"):
            SequentialTable(WINDOW, made.folder, "demo", asked()).run()
        return 1

    monkeypatch.setattr(until, "run_experiments", run_again)
    assert SequentialTable(WINDOW, made.folder, "demo", asked()).run() == 1


def test_a_failure_ends_it_with_its_code(made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(made, spread=0.001, failing="seed1")
    monkeypatch.setattr(until, "run_experiments", runner.run)
    assert SequentialTable(WINDOW, made.folder, "demo", asked()).run() == 1
    assert runner.ran == [f"{setting} 0" for setting in MEANS]


def test_a_dry_run_says_what_it_costs_and_keeps_nothing(made: HandMade, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "window", "--preset", "demo", "--until", "decided", "--budget", "3h", "--dry-run"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [f"with {n} seeds of every setting" for n in (3, 8)]
    assert not (made.folder / ".d2it" / "until").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["all", "--until", "decided", "--budget", "1h"], "--until decided: of one table, and of all its settings"),
        (["window", "--until", "decided"], "--until decided: needs --budget, such as --budget 3h"),
        (["window", "--budget", "1h"], "--budget, --max-seeds: of --until decided alone"),
        (
            ["window", "--until", "decided", "--budget", "1h", "--seeds", "9"],
            "--seeds 9 --max-seeds 8: must be at least 2, and at most --max-seeds",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_one_line(
    made: HandMade, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments]) == 2
    assert capsys.readouterr().err.strip() == line


def test_a_time_is_read_with_its_unit(made: HandMade, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "window", "--until", "decided", "--budget", "3 days"])
    assert "3 days: must be a time above 0, such as 3h, 45min or 90s" in capsys.readouterr().err
