"""Hours and speed of a run, from the times in its journal; they differ between two runs with equal results."""

from collections.abc import Iterable
from dataclasses import dataclass

from tracking.journal import Record


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a run, up to its end or its last record."""

    time: int  # ms since 1970
    hours: float
    device: str  # "gpu", or "cpu" where no GPU is held
    devices: int
    images: int  # between the first and the last point of its curve
    seconds: float  # that they took

    @property
    def device_hours(self) -> float:
        """GPUs x hours, or cores x hours."""
        return self.devices * self.hours


def starts(records: Iterable[Record]) -> list[Start]:
    """The starts in a journal, including one that may still be running."""
    parts: list[list[Record]] = []
    for record in records:
        if record["kind"] == "start":
            parts.append([])
        if parts:
            parts[-1].append(record)
    return [_start(part) for part in parts]


def images_per_second(parts: list[Start]) -> float | None:
    """Speed of the training loop alone, over all starts; None if there is no curve."""
    images, seconds = sum(part.images for part in parts), sum(part.seconds for part in parts)
    return images / seconds if images > 0 and seconds > 0 else None


def _start(records: list[Record]) -> Start:
    first, last = records[0], records[-1]
    points = [record for record in records if record["kind"] == "point" and record["step"] > 0]
    gpus = first.get("gpus", 0)
    return Start(
        time=first["time"], hours=(last["time"] - first["time"]) / 3_600_000, device="gpu" if gpus else "cpu",
        devices=gpus or first.get("cores", 1), images=points[-1]["step"] - points[0]["step"] if points else 0,
        seconds=(points[-1]["time"] - points[0]["time"]) / 1000 if points else 0.0,
    )  # fmt: skip
