"""A table's page: ours beside the paper's, curves, samples from the same noise, and how to reproduce each row."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ablations import compare, experiments
from ablations.chart import Line, line_chart
from ablations.compare import Summary
from ablations.links import Runs, find_runs
from ablations.links import compare as compare_in_mlflow
from ablations.page import Block, Cells, Code, Heading, Inline, Link, Page, Paragraph, Picture, Strong, Words
from ablations.plan import Plan, Row, plan, presets, slug
from ablations.results import UNREADABLE, Curve, Result, Results
from ablations.tables import DEMO, Metric, Table
from d2it import pictures

SHOWN, SHOWN_PIXELS = 6, 128  # samples a setting, and how wide each is at most
SEEDS_LOOKED_FOR = 16
CURVES = (("train_content", "loss", "loss of the content transformer"), ("train_dvae", "l1", "L1 of the DVAE"))


@dataclass(frozen=True)
class Standing:
    """A row with where its experiments stand."""

    row: Row
    results: tuple[Result, ...]
    numbers: tuple[dict[str, float], ...]  # of those that are done

    def summary(self, key: str) -> Summary | None:
        """A metric over the seeds that have it."""
        return compare.summarize([numbers[key] for numbers in self.numbers if key in numbers])

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


def report(table: Table, root: Path, preset: str = "", seeds: int = 0) -> Page:
    """The page of a table, whatever of it is there.

    Args:
        table: of `ablations.tables`.
        root: the repository's.
        preset: by default the one with which most experiments were asked for.
        seeds: by default as many as were asked for.

    Raises:
        StageError: no such preset, or DVC does not answer.
    """
    queue = experiments.queue(root)
    results = Results(root, experiments.done(root), queue.tasks)
    chosen = chosen_plan(table, root, results, preset, seeds)
    standings = [_standing(row, results, table) for row in chosen.rows]
    names = [result.name for standing in standings for result in standing.results if result.state == "done"]
    runs = find_runs(root, dict.fromkeys(names))
    blocks: list[Block] = [Paragraph(_opening(chosen, standings))]
    blocks += [Paragraph(f"Left out: {row.label}, as {row.refused}") for row in chosen.rows if row.refused]
    for metric in table.metrics:
        blocks += _metric(chosen, standings, metric)
    blocks += _curves(standings)
    blocks += _samples(standings)
    blocks += _reproduce(root, chosen, standings, runs)
    return Page(table.name, f"{table.title}: ours beside the paper's", tuple(blocks))


def chosen_plan(table: Table, root: Path, results: Results, preset: str, seeds: int) -> Plan:
    """The plan that a report is about, where preset and seeds are not given: what was asked for."""
    candidates = ["", *presets(root)] if not preset else [preset]
    plans = [plan(table, root, name, seeds or SEEDS_LOOKED_FOR) for name in candidates]
    known = [sum(results.knows(one) for one in candidate.experiments) for candidate in plans]
    winner = plans[known.index(max(known))]
    preset = candidates[known.index(max(known))]
    if seeds or not max(known):
        return plan(table, root, preset, seeds)
    return plan(table, root, preset, 1 + max(one.seed for one in winner.experiments if results.knows(one)))


def _standing(row: Row, results: Results, table: Table) -> Standing:
    found = tuple(results.of(experiment) for experiment in row.experiments)
    numbers = []
    for result in found:
        if result.outputs is None:
            continue
        numbers.append(result.outputs.numbers())
        if any(metric.key == "parameters" for metric in table.metrics):
            try:
                numbers[-1]["parameters"] = result.outputs.parameters()
            except UNREADABLE:
                continue
    return Standing(row, found, tuple(numbers))


def _opening(chosen: Plan, standings: Sequence[Standing]) -> Words:
    results = [result for standing in standings for result in standing.results]
    done = sum(result.state == "done" for result in results)
    words: list[Inline] = [f"The paper: {chosen.table.source}. Ours: preset ", Code(chosen.base)]
    words.append(f", {chosen.seeds} {'seed' if chosen.seeds == 1 else 'seeds'} a setting, ")
    words.append("all experiments done. " if done == len(results) else f"{done} of {len(results)} experiments done. ")
    if any(result.other_code for result in results):
        words.append("Some were made by code that has changed since (†). ")
    words.append("± is the standard deviation over n seeds, n - 1 in its denominator. ")
    if any(experiment.params.fid.extractor == "random" for experiment in chosen.experiments):
        smaller = "The demo is far smaller and its" if chosen.preset == DEMO else "The"
        words.append(f"{smaller} extractor has random weights: compare the order of settings, not the numbers. ")
    words.append(" ".join(chosen.table.notes))
    return words


def _key(metric: Metric, standings: Sequence[Standing]) -> str:
    """The metric's key, or that of its stand-in, whichever the experiments have."""
    counts = {key: sum(one.summary(key) is not None for one in standings) for key in (metric.stand_in, metric.key)}
    return metric.stand_in if metric.stand_in and counts[metric.stand_in] > counts[metric.key] else metric.key


def _metric(chosen: Plan, standings: Sequence[Standing], metric: Metric) -> list[Block]:
    key, place, lower = _key(metric, standings), chosen.table.metrics.index(metric), metric.lower_is_better
    ours = [one.summary(key) for one in standings]
    paper = [one.row.setting.paper[place] if place < len(one.row.setting.paper) else None for one in standings]
    means = [None if one is None else one.mean for one in ours]
    merit = lower is not None
    our_best, paper_best = (compare.best(values, bool(lower)) if merit else None for values in (means, paper))
    rows = []
    for standing, mean, summary, theirs in zip(standings, means, ours, paper, strict=True):
        cells: list[Words] = [standing.row.label, _ours(standing, summary, mean is not None and mean == our_best)]
        cells += [_difference(mean, our_best)] if merit else []
        if any(value is not None for value in paper):
            cells.append("" if theirs is None else f"{theirs:g}")
            cells += [_difference(theirs, paper_best)] if merit else []
        rows.append(tuple(cells))
    head = ["setting", "ours", *(["to best"] if merit else [])]
    if any(value is not None for value in paper):
        head += ["paper", *(["to best"] if merit else [])]
    stand_in = key.partition(".")[2].replace("_", " ")  # nobody may take it for FID
    name = metric.name if key == metric.key else f"{metric.name}, here {stand_in}"
    better = "" if lower is None else ", lower is better" if lower else ", higher is better"
    blocks: list[Block] = [Heading(name + better), Cells(tuple(head), tuple(rows))]
    if merit and any(value is not None for value in paper):
        blocks.append(Paragraph(compare.order_in_words([one.row.label for one in standings], ours, paper)))
    x = [one.row.setting.x for one in standings]
    if metric.shape:
        blocks.append(Paragraph(compare.shape_in_words(metric.shape, x, ours, bool(lower))))
    return blocks + _figure(chosen.table, standings, ours, metric.name if key == metric.key else stand_in)


def _ours(standing: Standing, summary: Summary | None, is_best: bool) -> Words:
    if summary is None:
        return [standing.states()]
    older = " †" if any(result.other_code for result in standing.results) else ""
    words: list[Inline] = [Strong(summary.text() + older) if is_best else summary.text() + older]
    if any(result.state != "done" for result in standing.results):
        words.append(f"; {standing.states()}")
    return words


def _difference(value: float | None, best: float | None) -> str:
    if value is None or best is None:
        return ""
    return "best" if value == best else f"{'+' if value > best else '−'}{compare.number(abs(value - best), best)}"


def _figure(table: Table, standings: Sequence[Standing], ours: Sequence[Summary | None], name: str) -> list[Block]:
    """The metric `name` against x, where the table is a figure."""
    lines: dict[str, list[tuple[float, Summary]]] = {}
    for one, summary in zip(standings, ours, strict=True):
        if one.row.setting.x is not None and summary is not None:
            lines.setdefault(one.row.setting.series or "ours", []).append((one.row.setting.x, summary))
    drawn = [
        Line(series, [(x, s.mean) for x, s in points], [s.spread for _, s in points])
        for series, points in lines.items()
    ]
    if not drawn:
        return []
    svg = line_chart(drawn, table.x_axis, name, marked=True)
    return [Picture(f"figure-{slug(name)}.svg", svg.encode(), f"{name} against {table.x_axis}; bars: ±")]


def _curves(standings: Sequence[Standing]) -> list[Block]:
    """Losses while training, where the settings differ in them: the first seed of each."""
    blocks: list[Block] = []
    for stage, name, caption in CURVES:
        curves: dict[str, Curve] = {}
        for one in standings:
            first = one.first()
            curve = first.outputs.curve(stage, name) if first and first.outputs else []
            if curve and curve not in curves.values():  # a stage that settings share is one line
                curves[one.row.label] = curve
        if len(curves) > 1:
            svg = line_chart([Line(label, curve) for label, curve in curves.items()], "images seen", name)
            blocks.append(Picture(f"{stage}.svg", svg.encode(), f"{caption}, lowest seed of each setting"))
    return [Heading("Curves"), *blocks] if blocks else []


def _samples(standings: Sequence[Standing]) -> list[Block]:
    """A row of samples and one of their grain maps for each setting."""
    blocks: list[Block] = [
        Heading("Samples"),
        Paragraph("Each setting from the same noise and the same seed; below, the grain maps that were drawn first "
                  "(red fine, blue coarse)."),
    ]  # fmt: skip
    for one in standings:
        if one.row.refused:
            continue
        first = one.first()
        found = first.outputs.samples(SHOWN) if first and first.outputs else None
        if first is None or found is None:
            blocks.append(Paragraph(f"{one.row.label}: none yet ({one.states()})"))
            continue
        images, maps = found
        images = pictures.enlarge(images, pictures.legible(images.shape[1]))
        images = images[:, :: max(1, images.shape[1] // SHOWN_PIXELS), :: max(1, images.shape[2] // SHOWN_PIXELS)]
        overlaid = pictures.overlay(images, maps, len(first.experiment.params.grain.factors))
        buffer = io.BytesIO()
        Image.fromarray(pictures.grid([np.asarray(images), overlaid])).save(buffer, format="PNG")
        caption = f"{one.row.label}, seed {first.experiment.seed}"
        blocks.append(Picture(f"samples-{slug(one.row.label)}.png", buffer.getvalue(), caption))
    return blocks


def _reproduce(root: Path, chosen: Plan, standings: Sequence[Standing], runs: Runs) -> list[Block]:
    rows: list[tuple[Words, ...]] = []
    for one in standings:
        for result in one.results:
            link = runs.run(result.name)
            state: Words = [Link("MLflow", link)] if link else result.state
            command = f"dvc exp apply {result.name}" if result.state == "done" else result.name
            if result.state == "failed":
                command = f"dvc queue logs {result.name}"
            rows.append((f"{one.row.label}, seed {result.experiment.seed}", [Code(command)], state))
    blocks: list[Block] = [Heading("Experiments"), Cells(("setting", "to reproduce", "run"), tuple(rows))]
    blocks.append(Paragraph(["What is missing or has failed: ", Code(f"python -m ablations run {chosen.asked_for}")]))
    compared = compare_in_mlflow(root, chosen, runs)
    if compared:
        served: list[Inline] = (
            [" (served by ", Code("python -m tracking ui"), ")"] if "127.0.0.1" in runs.address else []
        )
        blocks.append(Paragraph([Link("Compare all runs in MLflow", compared), *served]))
    elif runs.trouble:
        blocks.append(Paragraph(f"No links to MLflow: {runs.trouble}."))
    return blocks
