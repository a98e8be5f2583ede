"""Curves as SVG, readable on light and on dark, with the same bytes each time."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

WIDTH, HEIGHT, ROW = 4.4, 2.8, 0.2  # inches: of the plot, and of each line of the legend; legible on a phone
COLOURED = ("axes.edgecolor", "axes.labelcolor", "grid.color", "text.color", "xtick.color", "ytick.color")
INK = "#7d7d7d"  # stands out from white and from black
COLOURS = ("#2f7ed8", "#e0562a", "#2a9d5c", "#a64ac9", "#c99700", "#00a0a8", "#d6336c", "#7a7a7a")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "d2it",  # else ids are drawn at random
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],  # which comes with matplotlib; else what this machine has
    "axes.prop_cycle": cycler(linestyle=["-", "--"]) * cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    **dict.fromkeys(COLOURED, INK),
}


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
    with rc_context(STYLE):
        figure = Figure((WIDTH, HEIGHT + ROW * len(lines)), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(x_label)
        axes.set_title(y_label, loc="left", size="medium")  # a long name fits better above than beside
        if max(x for line in lines for x, _ in line.points) >= 10_000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        curves = []
        for number, line in enumerate(lines):
            x, y = [x for x, _ in line.points], [y for _, y in line.points]
            bars = [spread or 0.0 for spread in line.spreads] or None
            drawn = axes.errorbar(x, y, bars, marker="o" if marked else "", markersize=5, gid=f"line-{number}")
            curves.append(drawn.lines[0])
        figure.legend(curves, [line.name for line in lines], loc="outside lower left", frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return file.getvalue()
