"""Curves as CSV files that `dvc plots` and a spreadsheet read."""

import csv
from collections.abc import Sequence
from pathlib import Path


def save_curve(path: Path, curve: Sequence[dict[str, float]]) -> None:
    """One line per point; `images` (seen) first; empty where a number was not measured. Seven digits per number."""
    names = ["images", *sorted({name for point in curve for name in point} - {"images"})]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for point in curve:
            writer.writerow([f"{point[name]:.7g}" if name in point else "" for name in names])
