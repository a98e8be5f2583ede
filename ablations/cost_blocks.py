"""What each setting costs, on a page: operations, how fast it trained, and what it takes to reach the same distance."""

import statistics

from ablations.convergence import Length, Reached, common_level, reached
from ablations.findings import Finding, TableFindings
from ablations.links import Runs
from ablations.page import Block, pipe_table, plain
from ablations.standing import Standing
from ablations.summary import number
from d2it.cost.rate import TRAINING_FLOP

RATE = "train_content.images_per_second"
MULTIPLY_ADDS = "train_content.multiply_adds"  # per image


def cost_blocks(table: TableFindings, runs: Runs) -> list[Block]:
    """Empty where nothing is known."""
    blocks: list[Block] = []
    rows = [_row(one, runs) for one in table.standings]
    if any(any(cells) for _, *cells in rows):
        heads = ("setting", "multiply-adds per image, M", "content transformer's training, PFLOP", "images/s")
        blocks += ["## Cost", pipe_table(heads, rows)]
    for finding in table.metrics:
        blocks += _convergence(table, finding, runs)
    return blocks


def _row(standing: Standing, runs: Runs) -> tuple[str, str, str, str]:
    operations, rate = _operations(standing), _rate(standing, runs)
    total = operations * _images(standing)
    return (
        plain(standing.row.label),
        f"{operations / TRAINING_FLOP / 1e6:.4g}" if operations else "",
        f"{total / 1e15:.3g}" if total else "",
        f"{rate:.3g}" if rate else "",
    )


def _convergence(table: TableFindings, finding: Finding, runs: Runs) -> list[Block]:
    """Of a figure with several lengths of training per line: when each reaches what all reach."""
    lower = finding.metric.lower_is_better
    lines: dict[str, list[Length]] = {}
    for one, summary in zip(table.standings, finding.summaries, strict=True):
        if one.row.setting.series and summary is not None:
            length = Length(_images(one), summary.mean, _operations(one), _rate(one, runs))
            lines.setdefault(one.row.setting.series, []).append(length)
    if lower is None or not lines or any(len({one.images for one in line}) < 2 for line in lines.values()):
        return []
    level = common_level(lines, lower)
    rows = [(plain(name), *_cells(reached(line, level, lower))) for name, line in lines.items()]
    heads = ("", "images, thousands", "PFLOP", "seconds of training")
    caption = (
        f"Training until {plain(finding.name)} is {number(level)}, which all lines reach; straight between lengths:"
    )
    return [caption, pipe_table(heads, rows)]


def _cells(one: Reached) -> tuple[str, str, str]:
    def cell(value: float | None, unit: float) -> str:
        return "" if value is None else f"{value / unit:.3g}"

    return cell(one.images, 1e3), cell(one.operations, 1e15), cell(one.seconds, 1.0)


def _images(standing: Standing) -> int:
    experiments = standing.row.experiments
    return experiments[0].params.content_transformer.images if experiments else 0


def _operations(standing: Standing) -> float:
    """FLOP per image of the content transformer's training; 0: not known yet."""
    values = standing.values(MULTIPLY_ADDS)
    return TRAINING_FLOP * statistics.median(values.values()) if values else 0.0


def _rate(standing: Standing, runs: Runs) -> float:
    """Median over seeds, images/s; 0: not in MLflow."""
    numbers = (runs.numbers.get(result.name, {}) for result in standing.results)
    rates = [one[RATE] for one in numbers if RATE in one]
    return statistics.median(rates) if rates else 0.0
