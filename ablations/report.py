"""A table's page: ours beside the paper's, curves, samples from the same noise, and how to reproduce each row."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ablations import experiments
from ablations.chart import Line, line_chart
from ablations.links import Runs, find_runs, keep_comparison
from ablations.page import Block, Page, Picture, pipe_table, plain
from ablations.plan import Plan, TableRow, plan, presets, slug
from ablations.results import Curve, Result, Results
from ablations.summary import Summary, best, difference, order_in_words, shape_in_words, summarize
from ablations.tables import DEMO, Metric, Table
from d2it import pictures

SHOWN, SHOWN_PIXELS = 6, 128  # samples per setting, and how wide each is at most
SEEDS_LOOKED_FOR = 16  # a report that is not given the number of seeds knows no more
CURVES = (("train_content", "loss", "loss of the content transformer"), ("train_dvae", "l1", "L1 of the DVAE"))


@dataclass(frozen=True)
class Standing:
    """A row with where its experiments stand."""

    row: TableRow
    results: tuple[Result, ...]
    numbers: tuple[dict[str, float], ...]  # of those that are done

    def summary(self, key: str, unit: float = 1.0) -> Summary | None:
        """A metric over the seeds that have it."""
        return summarize([numbers[key] / unit for numbers in self.numbers if key in numbers])

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
    chosen = chosen_plan(table, root, results, preset=preset, seeds=seeds)
    standings = [_standing(row, results) for row in chosen.rows]
    names = [result.name for standing in standings for result in standing.results if result.state == "done"]
    runs = find_runs(root, dict.fromkeys(names))
    blocks: list[Block] = [_opening(chosen, standings)]
    blocks += [plain(f"Left out: {row.label}, as {row.refused}") for row in chosen.rows if row.refused]
    for metric in table.metrics:
        blocks += _metric(chosen, standings, metric)
    blocks += _curves(standings)
    blocks += _samples(standings)
    blocks += _reproduce(root, chosen, standings, runs)
    return Page(table.name, f"{table.title}: ours beside the paper's", tuple(blocks))


def chosen_plan(table: Table, root: Path, results: Results, *, preset: str, seeds: int) -> Plan:
    """The plan that a report is about, where preset and seeds are not given: what was asked for."""
    candidates = ["", *presets(root)] if not preset else [preset]
    plans = [plan(table, root, name, seeds or SEEDS_LOOKED_FOR) for name in candidates]
    known = [sum(results.knows(one) for one in candidate.experiments) for candidate in plans]
    winner = plans[known.index(max(known))]
    preset = candidates[known.index(max(known))]
    if seeds or not max(known):
        return plan(table, root, preset, seeds)
    return plan(table, root, preset, 1 + max(one.seed for one in winner.experiments if results.knows(one)))


def _standing(row: TableRow, results: Results) -> Standing:
    of_row = tuple(results.of(experiment) for experiment in row.experiments)
    return Standing(row, of_row, tuple(one.outputs.numbers() for one in of_row if one.outputs is not None))


def _opening(chosen: Plan, standings: Sequence[Standing]) -> str:
    results = [result for standing in standings for result in standing.results]
    done = sum(result.state == "done" for result in results)
    sentences = [
        f"The paper: {plain(chosen.table.source)}.",
        f"Ours: preset `{chosen.base}`, {chosen.seeds} {'seed' if chosen.seeds == 1 else 'seeds'} per setting, "
        f"{'all' if done == len(results) else f'{done} of {len(results)}'} experiments done.",
    ]
    if any(result.other_code for result in results):
        sentences.append("Some were made by code that has changed since (†).")
    sentences.append("± is the standard deviation over n seeds, n - 1 in its denominator.")
    if any(experiment.params.fid.extractor == "random" for experiment in chosen.experiments):
        smaller = "The demo is far smaller and its" if chosen.preset == DEMO else "The"
        sentences.append(f"{smaller} extractor has random weights: compare the order of settings, not the numbers.")
    return " ".join([*sentences, *chosen.table.notes])


def _key(metric: Metric, standings: Sequence[Standing]) -> str:
    """The metric's key, or that of its stand-in, whichever the experiments have."""
    counts = {key: sum(one.summary(key) is not None for one in standings) for key in (metric.stand_in, metric.key)}
    return metric.stand_in if metric.stand_in and counts[metric.stand_in] > counts[metric.key] else metric.key


def _metric(chosen: Plan, standings: Sequence[Standing], metric: Metric) -> list[Block]:
    key, place, lower = _key(metric, standings), chosen.table.metrics.index(metric), metric.lower_is_better
    ours = [one.summary(key, metric.unit) for one in standings]
    paper = [one.row.setting.paper[place] if place < len(one.row.setting.paper) else None for one in standings]
    printed, merit = any(value is not None for value in paper), lower is not None
    stand_in = key.partition(".")[2].replace("_", " ")  # nobody may take it for FID
    name = metric.name if key == metric.key else f"{metric.name}, here {stand_in}"
    better = "" if lower is None else ", lower is better" if lower else ", higher is better"
    blocks: list[Block] = [f"## {plain(name + better)}", _numbers(standings, ours, paper, lower)]
    if merit and printed:
        blocks.append(plain(order_in_words([one.row.label for one in standings], ours, paper)))
    if metric.shape:
        x = [one.row.setting.x for one in standings]
        blocks.append(plain(shape_in_words(metric.shape, x, ours, bool(lower))))
    return blocks + _figure(chosen.table, standings, ours, metric.name if key == metric.key else stand_in)


def _numbers(
    standings: Sequence[Standing],
    ours: Sequence[Summary | None],
    paper: Sequence[float | None],
    lower_is_better: bool | None,
) -> str:
    """One row per setting: our number and the paper's, each with its difference to the best of its column."""
    means = [None if one is None else one.mean for one in ours]
    merit = lower_is_better is not None
    our_best, paper_best = (best(values, bool(lower_is_better)) if merit else None for values in (means, paper))
    printed = any(value is not None for value in paper)
    columns = [
        ("setting", [plain(one.row.label) for one in standings], True),
        ("ours", [_ours(one, summary, our_best) for one, summary in zip(standings, ours, strict=True)], True),
        ("to best", [difference(mean, our_best) for mean in means], merit),
        ("paper", ["" if value is None else f"{value:g}" for value in paper], printed),
        ("to best", [difference(value, paper_best) for value in paper], printed and merit),
    ]
    shown = [(head, cells) for head, cells, is_shown in columns if is_shown]
    return pipe_table([head for head, _ in shown], list(zip(*(cells for _, cells in shown), strict=True)))


def _ours(standing: Standing, summary: Summary | None, our_best: float | None) -> str:
    if summary is None:
        return standing.states()
    number = summary.text() + (" †" if any(result.other_code for result in standing.results) else "")
    waiting = f"; {standing.states()}" if any(result.state != "done" for result in standing.results) else ""
    return (f"**{number}**" if summary.mean == our_best else number) + waiting


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
    return [Picture(f"figure-{slug(name)}.svg", svg, f"{name} against {table.x_axis}; bars: ±")]


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
            blocks.append(Picture(f"{stage}.svg", svg, f"{caption}, lowest seed of each setting"))
    return ["## Curves", *blocks] if blocks else []


def _samples(standings: Sequence[Standing]) -> list[Block]:
    """One row of samples and one of their grain maps for each setting."""
    blocks: list[Block] = [
        "## Samples",
        "Each setting from the same noise and the same seed; below, the grain maps that were drawn first (red fine, "
        "blue coarse).",
    ]
    for one in standings:
        if one.row.refused:
            continue
        first = one.first()
        samples = first.outputs.samples(SHOWN) if first and first.outputs else None
        if first is None or samples is None:
            blocks.append(f"*{plain(one.row.label)}*: none yet ({one.states()})")
            continue
        images, maps = samples
        images = pictures.enlarge(images, pictures.legible(images.shape[1]))
        images = images[:, :: max(1, images.shape[1] // SHOWN_PIXELS), :: max(1, images.shape[2] // SHOWN_PIXELS)]
        overlaid = pictures.overlay(images, maps, len(first.experiment.params.grain.factors))
        buffer = io.BytesIO()
        Image.fromarray(pictures.grid([np.asarray(images), overlaid])).save(buffer, format="PNG")
        caption = f"{one.row.label}, seed {first.experiment.seed}"
        blocks.append(Picture(f"samples-{slug(one.row.label)}.png", buffer.getvalue(), caption))
    return blocks


def _reproduce(root: Path, chosen: Plan, standings: Sequence[Standing], runs: Runs) -> list[Block]:
    rows = []
    for one in standings:
        for result in one.results:
            link = runs.address_of(result.name)
            commands = {"done": "dvc exp apply ", "failed": "dvc queue logs "}
            rows.append((
                f"{plain(one.row.label)}, seed {result.experiment.seed}",
                f"`{commands.get(result.state, '')}{result.name}`",
                f"[MLflow]({link})" if link else result.state,
            ))  # fmt: skip
    blocks: list[Block] = ["## Experiments", pipe_table(("setting", "to reproduce", "run"), rows)]
    blocks.append(f"What is missing or has failed: `python -m ablations run {chosen.asked_for}`")
    compared = keep_comparison(root, chosen, runs)
    if compared:
        served = " (served by `python -m tracking ui`)" if "127.0.0.1" in runs.address else ""
        blocks.append(f"[Compare all runs in MLflow]({compared}){served}")
    elif runs.trouble:
        blocks.append(plain(f"No links to MLflow: {runs.trouble}."))
    return blocks
