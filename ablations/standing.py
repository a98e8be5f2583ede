"""Where a table's experiments stand: each row's numbers by seed, and which preset and seeds a report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.plan import Plan, TableRow, plan, presets
from ablations.results import Result, Results
from ablations.summary import Summary, summarize
from ablations.tables import Metric, Table
from ablations.verdict import Cell, by_seed

SEEDS_LOOKED_FOR, SAMPLINGS_LOOKED_FOR = 16, 8  # a report that is not given the number of seeds knows no more


@dataclass(frozen=True)
class Standing:
    """A row with where its experiments stand."""

    row: TableRow
    results: tuple[Result, ...]

    def values(self, key: str, unit: float = 1.0) -> dict[Cell, float]:
        """A metric of all seeds that have it."""
        numbers = {result.experiment.cell: result.outputs.numbers for result in self.results if result.outputs}
        return {cell: one[key] / unit for cell, one in numbers.items() if key in one}

    def summary(self, key: str, unit: float = 1.0) -> Summary | None:
        """A metric over the training seeds that have it, each the mean of its sampling seeds."""
        return summarize([*by_seed(self.values(key, unit)).values()])

    def states(self) -> str:
        """What stands instead of a number: '1 running, 2 missing'."""
        if self.row.refused:
            return "left out"
        waiting = [result.state for result in self.results if result.state != "done"]
        words = [f"{waiting.count(state)} {state}" for state in dict.fromkeys(waiting)]
        return ", ".join(words) if words else "no number"

    def first(self) -> Result | None:
        """The done experiment of the lowest seed."""
        return next((result for result in self.results if result.outputs is not None), None)


def standings_of(chosen: Plan, results: Results) -> list[Standing]:
    """Of all rows, in the table's order."""
    return [Standing(row, tuple(map(results.of, row.experiments))) for row in chosen.rows]


def key_of(metric: Metric, standings: Sequence[Standing]) -> str:
    """The metric's key, or that of its stand-in, whichever the experiments have."""
    return max((metric.key, metric.stand_in), key=lambda key: sum(one.summary(key) is not None for one in standings))


def chosen_plan(
    table: Table, root: Path, results: Results, *, preset: str, seeds: int, sampling_seeds: int = 0
) -> Plan:  # fmt: skip
    """The plan that a report is about, where preset and seeds are not given: what was asked for."""

    def known(candidate: Plan) -> list[Cell]:
        return [one.cell for one in candidate.experiments if results.knows(one)]

    names = [preset] if preset else ["", *presets(root)]
    candidates = [plan(table, root, name, seeds or SEEDS_LOOKED_FOR) for name in names]
    most = max(candidates, key=lambda candidate: len(known(candidate)))
    seeds = seeds or 1 + max((cell.seed for cell in known(most)), default=-1)
    if any(row.setting.varies == "sample.seed" for row in most.rows):
        sampling_seeds = sampling_seeds or 1  # other samplings are a row of the table
    if not sampling_seeds:
        sampled = plan(table, root, most.preset, 1, sampling_seeds=SAMPLINGS_LOOKED_FOR)
        sampling_seeds = 1 + max((cell.sampling_seed for cell in known(sampled)), default=0)
    return plan(table, root, most.preset, seeds, sampling_seeds=sampling_seeds)
