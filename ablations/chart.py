"""Curves and estimates as SVG, readable on light and on dark, with the same bytes each time."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

WIDTH, HEIGHT, ROW = 4.4, 2.8, 0.2  # inches: of the plot, and of each line of the legend; legible on a phone
SEEDS, INTERVAL = "C7", "C0"  # colours
STYLE = Path(__file__).with_name("chart.mplstyle")


@dataclass(frozen=True)
class Line:
    """A named curve: (x, y) in order, and how far y spreads at each point, if that is known."""

    name: str
    points: Sequence[tuple[float, float]]
    spreads: Sequence[float | None] = ()


@dataclass(frozen=True)
class Estimate:
    """A named number with all that it is the mean of, and half the width of its interval; inf: unknown."""

    name: str
    mean: float
    half_width: float
    values: Sequence[float]


def interval_chart(estimates: Sequence[Estimate], label: str) -> bytes:
    """One line per estimate, from above: its values as rings, its mean as a dot, and its interval if that is known.

    Raises:
        ValueError: no estimates.
    """
    if not estimates:
        raise ValueError(f"{label}: no estimates to draw")
    with rc_context(fname=STYLE):
        figure = Figure((WIDTH, 1.0 + 1.5 * ROW * len(estimates)))
        axes = figure.subplots()
        axes.set_title(label)
        for place, one in enumerate(estimates):
            width = one.half_width if math.isfinite(one.half_width) else 0.0
            axes.plot(one.values, [place] * len(one.values), "o", mfc="none", alpha=0.6, color=SEEDS)
            axes.errorbar(one.mean, place, xerr=width, fmt="o", capsize=3, color=INTERVAL, gid=f"estimate-{place}")
        axes.set_yticks(range(len(estimates)), [one.name for one in estimates])
        axes.set_ylim(len(estimates) - 0.5, -0.5)
        return _svg(figure)


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, marked: bool = False) -> bytes:
    """All lines in one plot, with a legend under it; `marked`: one dot per point.

    Raises:
        ValueError: no line has a point.
    """
    if not any(line.points for line in lines):
        raise ValueError(f"{y_label}: no points to draw")
    with rc_context(fname=STYLE):
        figure = Figure((WIDTH, HEIGHT + ROW * len(lines)))
        axes = figure.subplots()
        axes.set_xlabel(x_label)
        axes.set_title(y_label)  # a long name fits better above than beside
        if max(x for line in lines for x, _ in line.points) >= 10_000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        curves = []
        for number, line in enumerate(lines):
            x, y = [x for x, _ in line.points], [y for _, y in line.points]
            bars = [spread or 0.0 for spread in line.spreads] or None
            drawn = axes.errorbar(x, y, bars, marker="o" if marked else "", gid=f"line-{number}")
            curves.append(drawn.lines[0])
        figure.legend(curves, [line.name for line in lines], loc="outside lower left")
        return _svg(figure)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
