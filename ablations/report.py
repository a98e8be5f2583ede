"""A table's page: ours beside the paper's, curves, samples from the same noise, and how to reproduce each row."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
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

    def summary(self, key: str, unit: float = 1.0) -> Summary | None:
        """A metric over the seeds that have it."""
        numbers = [result.outputs.numbers for result in self.results if result.outputs]
        return summarize([one[key] / unit for one in numbers if key in one])

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

    By default of the preset with which most experiments were asked for, and of as many seeds.

    Raises:
        StageError: no such preset, or DVC does not answer.
    """
    results = Results(root, experiments.done(root), experiments.queue(root).tasks)
    chosen = chosen_plan(table, root, results, preset=preset, seeds=seeds)
    standings = [Standing(row, tuple(map(results.of, row.experiments))) for row in chosen.rows]
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

    def known_seeds(candidate: Plan) -> list[int]:
        return [one.seed for one in candidate.experiments if results.knows(one)]

    names = [preset] if preset else ["", *presets(root)]
    candidates = [plan(table, root, name, seeds or SEEDS_LOOKED_FOR) for name in names]
    most = max(candidates, key=lambda candidate: len(known_seeds(candidate)))
    return plan(table, root, most.preset, seeds or 1 + max(known_seeds(most), default=-1))


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
    if any(experiment.params.fid.extractor != "inception" for experiment in chosen.experiments):
        smaller = "The demo is far smaller, and its distances are" if chosen.preset == DEMO else "Distances are"
        sentences.append(f"{smaller} of another extractor's features, no FID: compare the order of settings.")
    return " ".join([*sentences, *chosen.table.notes])


def _key(metric: Metric, standings: Sequence[Standing]) -> str:
    """The metric's key, or that of its stand-in, whichever the experiments have."""
    return max((metric.key, metric.stand_in), key=lambda key: sum(one.summary(key) is not None for one in standings))


def _metric(chosen: Plan, standings: Sequence[Standing], metric: Metric) -> list[Block]:
    key, place, lower = _key(metric, standings), chosen.table.metrics.index(metric), metric.lower_is_better
    ours = [one.summary(key, metric.unit) for one in standings]
    paper = [dict(enumerate(one.row.setting.paper)).get(place) for one in standings]
    stand_in = "" if key == metric.key else key.partition(".")[2].replace("_", " ")  # nobody may take it for FID
    name = f"{metric.name}, here {stand_in}" if stand_in else metric.name
    better = {None: "", True: ", lower is better", False: ", higher is better"}[lower]
    blocks: list[Block] = [f"## {plain(name + better)}", _numbers(standings, ours, paper, lower)]
    if lower is not None and any(value is not None for value in paper):
        blocks.append(plain(order_in_words([one.row.label for one in standings], ours, paper)))
    if metric.shape:
        x = [one.row.setting.x for one in standings]
        blocks.append(plain(shape_in_words(metric.shape, x, ours, bool(lower))))
    return blocks + _figure(chosen.table, standings, ours, stand_in or metric.name)


def _numbers(standings: Sequence[Standing], ours: Sequence[Summary | None], paper: Sequence[float | None],
             lower_is_better: bool | None) -> str:  # fmt: skip
    """One row per setting: our number and the paper's, each with its difference to the best of its column."""
    means = [None if one is None else one.mean for one in ours]
    our_best, paper_best = best(means, lower_is_better), best(paper, lower_is_better)
    columns = [
        ("setting", [plain(one.row.label) for one in standings]),
        ("ours", [_ours(one, summary, our_best) for one, summary in zip(standings, ours, strict=True)]),
        ("to best", [difference(mean, our_best) for mean in means]),
        ("paper", ["" if value is None else f"{value:g}" for value in paper]),
        ("to best", [difference(value, paper_best) for value in paper]),
    ]
    shown = [(head, cells) for head, cells in columns if any(cells)]
    return pipe_table([head for head, _ in shown], list(zip(*(cells for _, cells in shown), strict=True)))


def _ours(standing: Standing, summary: Summary | None, our_best: float | None) -> str:
    if summary is None:
        return standing.states()
    number = summary.text() + (" †" if any(result.other_code for result in standing.results) else "")
    waiting = f"; {standing.states()}" if any(result.state != "done" for result in standing.results) else ""
    return (f"**{number}**" if summary.mean == our_best else number) + waiting


def _figure(table: Table, standings: Sequence[Standing], ours: Sequence[Summary | None], name: str) -> list[Block]:
    """The metric `name` against x, where the table is a figure."""
    points: dict[str, list[tuple[float, Summary]]] = {}
    for one, summary in zip(standings, ours, strict=True):
        if one.row.setting.x is not None and summary is not None:
            points.setdefault(one.row.setting.series or "ours", []).append((one.row.setting.x, summary))
    if not points:
        return []
    lines = [Line(of, [(x, y.mean) for x, y in line], [y.spread for _, y in line]) for of, line in points.items()]
    svg = line_chart(lines, table.x_axis, name, marked=True)
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
    for one in (one for one in standings if not one.row.refused):
        first = one.first()
        samples = first.outputs.samples(SHOWN) if first and first.outputs else None
        if first is None or samples is None:
            blocks.append(f"*{plain(one.row.label)}*: none yet ({one.states()})")
            continue
        png = _png(*samples, first.experiment.params.grain.grains)
        caption = f"{one.row.label}, seed {first.experiment.seed}"
        blocks.append(Picture(f"samples-{slug(one.row.label)}.png", png, caption))
    return blocks


def _png(images: NDArray[np.uint8], grain_maps: NDArray[np.uint8], grains: int) -> bytes:
    """Images above their grain maps."""
    images = pictures.enlarge(images, pictures.legible(images))
    step = max(1, images.shape[1] // SHOWN_PIXELS)
    images = images[:, ::step, ::step]
    file = io.BytesIO()
    Image.fromarray(pictures.grid([images, pictures.overlay(images, grain_maps, grains)])).save(file, format="PNG")
    return file.getvalue()


def _reproduce(root: Path, chosen: Plan, standings: Sequence[Standing], runs: Runs) -> list[Block]:
    commands = {"done": "dvc exp apply ", "failed": "dvc queue logs "}
    rows = []
    for one in standings:
        for result in one.results:
            setting, link = f"{plain(one.row.label)}, seed {result.experiment.seed}", runs.address_of(result.name)
            command = f"`{commands.get(result.state, '')}{result.name}`"
            rows.append((setting, command, f"[MLflow]({link})" if link else result.state))
    blocks: list[Block] = ["## Experiments", pipe_table(("setting", "to reproduce", "run"), rows)]
    blocks.append(f"What is missing or has failed: `python -m ablations run {chosen.asked_for}`")
    if compared := keep_comparison(root, chosen, runs):
        served = " (served by `python -m tracking ui`)" if "127.0.0.1" in runs.address else ""
        blocks.append(f"[Compare all runs in MLflow]({compared}){served}")
    elif runs.trouble:
        blocks.append(plain(f"No links to MLflow: {runs.trouble}."))
    return blocks
