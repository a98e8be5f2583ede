"""Add training seeds to a table where they decide most, until every pair is decided or the budget is spent."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations import experiments
from ablations.cost import Cost, cost, spent_hours
from ablations.findings import Finding, find
from ablations.links import find_runs
from ablations.looks import Looks, begin, keep, record_of
from ablations.plan import Experiment, plan
from ablations.run import print_left_out, run_experiments
from ablations.tables import Table
from ablations.verdict import CLOSER, SAME, Pair, Rule, seeds_to_decide
from d2it.cost.rate import Rate
from pipeline.lock import locked

NEVER = 1_000_000  # seeds that a pair needs which more than all of them would not decide


@dataclass(frozen=True, kw_only=True)
class Until:
    """What was asked for."""

    first: int  # training seeds of every setting, before anything is decided
    most: int  # of any setting
    sampling_seeds: int
    budget: float  # seconds of waiting, those of earlier calls included
    jobs: int
    rate: Rate  # that is assumed until one has been measured


@dataclass(frozen=True, kw_only=True)
class Step:
    """Experiments that are run together, and why."""

    why: str
    wanted: tuple[Experiment, ...]
    cost: Cost


class SequentialTable:
    """A table whose settings have as many seeds as their verdicts took so far."""

    def __init__(self, table: Table, root: Path, preset: str, asked: Until) -> None:
        """Raises LooksError, if the table was begun with other looks."""
        self.plan = plan(table, root, preset, asked.most, sampling_seeds=asked.sampling_seeds)
        self.root, self.asked = root, asked
        self.rule = Rule(looks=asked.most - asked.first + 1)
        self.path = record_of(root, self.plan)
        wanted = Looks(first=asked.first, most=asked.most, sampling_seeds=asked.sampling_seeds)
        self.looks = begin(self.path, wanted)

    def run(self, dry_run: bool = False) -> int:
        """0: decided, or as far as the budget and the seeds go; 1: an experiment has failed; 130: interrupted.

        `dry_run`: only print what all of it would cost.

        Raises:
            StageError: another call does the same.
        """
        print_left_out([self.plan])
        for seeds in (self.asked.first, self.asked.most):
            print(f"with {seeds} seeds of every setting, {self._price(seeds)}", flush=True)
        if dry_run:
            return 0
        refusal = f"{self.path}: another call runs this table until it is decided; wait for it, or end it"
        with locked(self.path.with_suffix(".lock"), seconds=1.0, refusal=refusal):
            return self._run_steps()

    def _run_steps(self) -> int:
        keep(self.path, self.looks)  # before anything is looked at
        while (step := self._next()) is not None:
            seconds = self._seconds(step.cost)
            left = self.asked.budget - self.looks.seconds
            line = f"{step.why}: {seconds / 3600:.2g} h ({self._rate().origin}); {left / 3600:.2g} h of the budget left"
            print(line, flush=True)
            if left <= 0 or (seconds > left and self.looks.operations > 0):
                print("the budget ends here; the same command with a larger one goes on")
                break
            if code := self._run(step):
                return code
        self._print_end()
        return 0

    def _run(self, step: Step) -> int:
        began = time.monotonic()
        code = run_experiments(step.wanted, self.root, jobs=self.asked.jobs, rate=self._rate())
        self.looks.seconds += time.monotonic() - began
        if code == 0:
            self.looks.operations += step.cost.operations
        keep(self.path, self.looks)
        return code

    def _next(self) -> Step | None:
        """First every setting's first seeds, one after the other; then the pair whose verdict is cheapest."""
        done = self._done()
        for seeds in range(1, self.asked.first + 1):
            wanted = [one for row in self.plan.rows for one in row.experiments if one.seed < seeds]
            if step := self._step(f"seed {seeds - 1} of every setting", wanted, done):
                return step
        finding = self._finding()
        candidates = []
        for pair in undecided(finding):
            both = finding.labels[pair.first], finding.labels[pair.second]
            common = len(pair.differences)
            if common < self.asked.most:
                rows = [self.plan.rows[place] for place in (pair.first, pair.second)]
                wanted = [one for row in rows for one in row.experiments if one.seed <= common]
                step = self._step(f"seed {common} of {both[0]!r} and {both[1]!r}", wanted, done)
                if step is not None:
                    needed = seeds_to_decide(pair, self.rule, self.asked.most) or NEVER
                    candidates.append((step.cost.operations * (needed - common), step))
        return min(candidates, key=lambda one: one[0])[1] if candidates else None

    def _step(self, why: str, wanted: Sequence[Experiment], done: Sequence[Experiment]) -> Step | None:
        """None where all of it is done."""
        exist = {one.identity for one in done}
        todo = {one.identity: one for one in wanted if one.identity not in exist}
        if not todo:
            return None
        return Step(why=why, wanted=tuple(todo.values()), cost=cost(todo.values(), done, self.root))

    def _done(self) -> list[Experiment]:
        """By the names that they bear in DVC, maybe those of another table."""
        known = experiments.known(experiments.done(self.root), ())
        done = [one for one in self.plan.experiments if one.identity in known]
        return [replace(one, name=known[one.identity][0]) for one in done]

    def _finding(self) -> Finding:
        """Of the table's first metric."""
        most, samplings = self.asked.most, self.asked.sampling_seeds
        return find(self.plan.table, self.root, self.plan.preset, most, sampling_seeds=samplings).metrics[0]

    def _rate(self) -> Rate:
        if self.looks.operations and self.looks.seconds:
            measured = self.looks.operations / self.looks.seconds
            return Rate(measured, measured, "at the rate measured so far")
        return self.asked.rate

    def _seconds(self, of: Cost) -> float:
        return self._rate().seconds(of.bfloat16, of.float32)

    def _price(self, seeds: int) -> str:
        done = self._done()
        there = {one.identity for one in done}
        missing = [one for one in self.plan.experiments if one.seed < seeds and one.identity not in there]
        return cost(missing, done, self.root).line(self._rate())

    def _print_end(self) -> None:
        finding = self._finding()
        for line in verdict_lines(finding):
            print(line)
        decided = sum(pair.verdict != "inconclusive" for pair in finding.pairs)
        hours = self.looks.seconds / 3600
        parts = [f"{hours:.2g} hours, {self.asked.jobs} at a time"]
        done = self._done()
        spent = spent_hours(done, find_runs(self.root, [one.name for one in done]), self.root)
        parts += [f"{value:.2g} {kind.upper()} hours by MLflow" for kind, value in spent.items()]
        per = spent.get("gpu", spent.get("cpu", hours))
        verdicts = f", {per / decided:.2g} per verdict" if decided else ""
        print(f"decided: {decided} of {len(finding.pairs)} pairs; it took {', '.join(parts)}{verdicts}")
        if decided < len(finding.pairs):
            print("undecided: " + "; ".join(hints(finding, self.rule)), file=sys.stderr)


def undecided(finding: Finding) -> list[Pair]:
    """Pairs that more seeds can decide: neither equal ones nor those whose whole interval is below the floor."""
    return [pair for pair in finding.pairs if pair.verdict == "inconclusive" and pair.why not in (CLOSER, SAME)]


def verdict_lines(finding: Finding) -> Iterator[str]:
    """One line per pair."""
    for pair in finding.pairs:
        first, second = finding.labels[pair.first], finding.labels[pair.second]
        why = f" ({pair.why})" if pair.why else ""
        yield (
            f"{first} against {second}: {pair.verdict}{why}; {pair.difference:+.4g} ± {pair.half_width:.2g}, "
            f"{pair.relative:+.1%}, p = {pair.p:.3f}, n = {len(pair.differences)}"
        )


def hints(finding: Finding, rule: Rule) -> Iterator[str]:
    """What each undecided pair lacks."""
    for pair in finding.pairs:
        if pair.verdict == "inconclusive":
            both = f"{finding.labels[pair.first]} against {finding.labels[pair.second]}"
            if pair.why in (CLOSER, SAME) or len(pair.differences) < 2:
                yield f"{both}: {pair.why}"
            else:
                needed = seeds_to_decide(pair, rule, 99)
                seeds = "99 seeds would not do" if needed is None else f"about {needed} seeds"
                yield f"{both}: {seeds}, as they differ now"
