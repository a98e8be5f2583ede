"""Curves as SVG that needs nothing else, on light and on dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 260  # of the plot and its axes; legible on a phone
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 10, 40
ROW = 18  # height of a line of the legend
COLOURS = ("#2f7ed8", "#e0562a", "#2a9d5c", "#a64ac9", "#c99700", "#00a0a8", "#d6336c", "#7a7a7a")


@dataclass(frozen=True)
class Line:
    """A named curve: (x, y) in order, and how far y spreads at each point, if that is known."""

    name: str
    points: Sequence[tuple[float, float]]
    spreads: Sequence[float | None] = ()


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, marked: bool = False) -> str:
    """All lines in one plot, with a legend under it; `marked`: a dot a point.

    Raises:
        ValueError: no line has a point.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError(f"{y_label}: no points to draw")
    x_ticks, y_ticks = ticks([x for x, _ in points]), ticks(_reaches(lines))
    x_low, x_high = min(x_ticks[0], min(x for x, _ in points)), max(x_ticks[-1], max(x for x, _ in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    height = HEIGHT + ROW * len(lines) + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(y_label)} against {escape(x_label)}" font-family="sans-serif" font-size="12">',
        "<style>.ink{fill:#333}.axis{stroke:#888;stroke-opacity:.4}"
        "@media(prefers-color-scheme:dark){.ink{fill:#ccc}}</style>",
    ]
    for y in y_ticks:
        level = place(x_low, y)[1]
        parts.append(f'<line class="axis" x1="{LEFT}" y1="{level:.1f}" x2="{WIDTH - RIGHT}" y2="{level:.1f}"/>')
        parts.append(_text(LEFT - 6, level + 4, _short(y, y_ticks), "end"))
    parts += [_text(place(x, 0)[0], HEIGHT - BOTTOM + 16, _short(x, x_ticks), "middle") for x in x_ticks]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle"))
    parts.append(f'<g transform="rotate(-90 12 {HEIGHT / 2 - 10})">{_text(12, HEIGHT / 2 - 6, y_label, "middle")}</g>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        dashes = ' stroke-dasharray="5 3"' if number >= len(COLOURS) else ""
        spots = [place(*point) for point in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.8"{dashes} points="{path}"/>')
        if marked:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>' for x, y in spots]
        for (x, y), spread in zip(line.points, line.spreads, strict=False):
            if spread:
                (across, low), (_, high) = place(x, y - spread), place(x, y + spread)
                parts.append(
                    f'<line stroke="{colour}" x1="{across:.1f}" y1="{low:.1f}" x2="{across:.1f}" y2="{high:.1f}"/>'
                )
        level = HEIGHT + ROW * number + 10
        parts.append(f'<line stroke="{colour}" stroke-width="3"{dashes} x1="{LEFT}" y1="{level}" x2="{LEFT + 22}" '
                     f'y2="{level}"/>')  # fmt: skip
        parts.append(_text(LEFT + 30, level + 4, line.name, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(values: Sequence[float], count: int = 5) -> list[float]:
    """About `count` round numbers, evenly spaced, from at most the smallest value to at least the largest."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * i for i in range(first, last + 1)]


def _reaches(lines: Sequence[Line]) -> list[float]:
    """All values of y, and where their spreads reach."""
    found = [y for line in lines for _, y in line.points]
    for line in lines:
        for (_, y), spread in zip(line.points, line.spreads, strict=False):
            found += [y - (spread or 0), y + (spread or 0)]
    return found


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="ink" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float, among: Sequence[float]) -> str:
    """A tick's label: 26000 -> 26K, with the decimals that tell it from its neighbours."""
    step = among[1] - among[0]
    reach = max(abs(among[0]), abs(among[-1]))
    unit, letter = next((one for one in ((1e6, "M"), (1e3, "K")) if reach >= 2 * one[0]), (1.0, ""))
    value, step = value / unit, step / unit
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, 10):
        decimals += 1
    return f"{value:.{decimals}f}{letter}"
