"""A table's page: ours beside the paper's, curves, samples from the same noise, and how to reproduce each row."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ablations.chart import Line, line_chart
from ablations.cost_blocks import cost_blocks
from ablations.findings import Finding, TableFindings
from ablations.links import Runs, find_runs, keep_comparison
from ablations.page import Block, Page, Picture, pipe_table, plain
from ablations.plan import Plan, slug
from ablations.results import Curve
from ablations.standing import Standing
from ablations.summary import Summary, best, difference, shape_in_words
from ablations.tables import DEMO, Table
from ablations.verdict_blocks import seeds_block, verdict_blocks
from d2it import pictures

SHOWN, SHOWN_PIXELS = 6, 128  # samples per setting, and how wide each is at most
CURVES = (("train_content", "loss", "loss of the content transformer"), ("train_dvae", "l1", "L1 of the DVAE"))


def report(table: TableFindings, root: Path) -> Page:
    """The page of a table, whatever of it is there."""
    chosen, standings = table.plan, table.standings
    runs = find_runs(root, table.names)
    blocks: list[Block] = [_opening(chosen, standings)]
    blocks += [plain(f"Left out: {row.label}, as {row.refused}") for row in chosen.rows if row.refused]
    for finding in table.metrics:
        blocks += _metric(table, finding)
    blocks += cost_blocks(table, runs)
    blocks += _curves(standings)
    blocks += _samples(standings)
    blocks += _reproduce(root, chosen, standings, runs)
    return Page(chosen.table.name, f"{chosen.table.title}: ours beside the paper's", tuple(blocks))


def _opening(chosen: Plan, standings: Sequence[Standing]) -> str:
    results = [result for standing in standings for result in standing.results]
    done = sum(result.state == "done" for result in results)
    samplings = f"each sampled {chosen.sampling_seeds} times, " if chosen.sampling_seeds > 1 else ""
    sentences = [
        f"The paper: {plain(chosen.table.source)}.",
        f"Ours: preset `{chosen.base}`, {chosen.seeds} {'seed' if chosen.seeds == 1 else 'seeds'} per setting, "
        f"{samplings}{'all' if done == len(results) else f'{done} of {len(results)}'} experiments done.",
    ]
    if any(result.other_code for result in results):
        sentences.append("Some were made by code that has changed since (†).")
    sentences.append("± is the standard deviation over n training seeds, n - 1 in its denominator.")
    if any(experiment.params.fid.extractor != "inception" for experiment in chosen.experiments):
        smaller = "The demo is far smaller, and its distances are" if chosen.preset == DEMO else "Distances are"
        sentences.append(f"{smaller} of another extractor's features, no FID: compare the order of settings.")
    return " ".join([*sentences, *chosen.table.notes])


def _metric(table: TableFindings, finding: Finding) -> list[Block]:
    metric, lower, summaries = finding.metric, finding.metric.lower_is_better, finding.summaries
    better = {None: "", True: ", lower is better", False: ", higher is better"}[lower]
    blocks: list[Block] = [
        f"## {plain(finding.name + better)}",
        _numbers(table.standings, summaries, finding.paper, lower),
        *verdict_blocks(finding, table.rule),
    ]
    blocks += seeds_block(finding, table.standings)
    if metric.shape:
        x = [one.row.setting.x for one in table.standings]
        blocks.append(plain(shape_in_words(metric.shape, x, summaries, bool(lower))))
    return blocks + _figure(table.plan.table, table.standings, summaries, finding.stand_in or metric.name)


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
    return pipe_table([head for head, _ in columns], list(zip(*(cells for _, cells in columns), strict=True)))


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
