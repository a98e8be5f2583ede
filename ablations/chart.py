"""Curves as SVG, readable on light and on dark, with the same bytes each time."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

WIDTH, HEIGHT, ROW = 4.4, 2.8, 0.2  # inches: of the plot, and of each line of the legend; legible on a phone
STYLE = Path(__file__).with_name("chart.mplstyle")


@dataclass(frozen=True)
class Line:
    """A named curve: (x, y) in order, and how far y spreads at each point, if that is known."""

    name: str
    points: Sequence[tuple[float, float]]
    spreads: Sequence[float | None] = ()


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
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
