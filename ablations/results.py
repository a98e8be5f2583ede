"""What an experiment has left in DVC: its numbers, curves and samples, read at its commit without a checkout."""

import csv
import io
import json
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from numpy.typing import NDArray

from ablations.experiments import State, Task
from ablations.plan import Experiment, identity_of
from stages.stage import NAMES

Curve = list[tuple[float, float]]  # images seen, value
UNREADABLE = (OSError, ValueError, KeyError, DvcException)  # not in the cache of this machine, or of another format


class Outputs:
    """The outputs of one experiment."""

    def __init__(self, root: Path, commit: str) -> None:
        self._files = DVCFileSystem(str(root), rev=commit)

    def numbers(self) -> dict[str, float]:
        """All metrics that are there, as '<stage>.<name>'."""
        numbers: dict[str, float] = {}
        for stage in NAMES:
            with suppress(*UNREADABLE):
                values = json.loads(self._files.read_text(f"outputs/{stage}/metrics.json"))
                numbers |= {f"{stage}.{name}": float(value) for name, value in values.items()}
        return numbers

    def curve(self, stage: str, name: str) -> Curve:
        """A column of a stage's curve; empty if it is not there."""
        try:
            rows = csv.DictReader(io.StringIO(self._files.read_text(f"outputs/{stage}/curve.csv")))
            return [(float(row["images"]), float(row[name])) for row in rows if row[name]]
        except UNREADABLE:
            return []

    def samples(self, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """The first samples (n, H, W, 3) and their grain maps (n, h, w); None if they are not there.

        The files may hold gigabytes: only their beginnings are read.
        """
        try:
            with (
                self._files.open("outputs/sample/samples.npz", "rb") as file,
                zipfile.ZipFile(file) as members,
                members.open("arr_0.npy") as images,
            ):
                first = _first(images, count)
            with self._files.open("outputs/sample/grain_maps.npy", "rb") as file:
                return first, _first(file, count)
        except (*UNREADABLE, zipfile.BadZipFile):
            return None


@dataclass(frozen=True)
class Result:
    """Where one experiment stands."""

    experiment: Experiment
    name: str  # the name it bears in DVC, maybe that of another table
    state: State
    outputs: Outputs | None = None
    other_code: bool = False  # made by code that has changed since


class Results:
    """All experiments of the repository."""

    def __init__(self, root: Path, done: dict[str, str], tasks: tuple[Task, ...]) -> None:
        self._root, self._done, self._tasks = root, done, tasks
        self._by_identity = {identity_of(name): name for name in done}
        self._by_params = {identity_of(name).partition("-")[0]: name for name in done}
        self._states: dict[str, tuple[str, State]] = {}
        for task in sorted(tasks, key=lambda task: task.state != "failed"):
            self._states[identity_of(task.name)] = (task.name, task.state)

    def knows(self, experiment: Experiment) -> bool:
        """Whether it has ever been asked for, with this code or other."""
        key = experiment.identity
        return key in self._states or key.partition("-")[0] in self._by_params

    def of(self, experiment: Experiment) -> Result:
        """Where it stands; one that other code has made counts until it is run again."""
        key = experiment.identity
        if key in self._by_identity:
            name = self._by_identity[key]
            return Result(experiment, name, "done", self._outputs(name))
        if key in self._states:
            name, state = self._states[key]
            return Result(experiment, name, state)
        older = self._by_params.get(key.partition("-")[0])
        if older:
            return Result(experiment, older, "done", self._outputs(older), other_code=True)
        return Result(experiment, experiment.name, "missing")

    def _outputs(self, name: str) -> Outputs:
        return Outputs(self._root, self._done[name])


def _first(file: IO[bytes], count: int) -> NDArray[np.uint8]:
    """The first rows of a npy file of uint8, however large it is.

    Raises:
        ValueError: it holds something else.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if fortran or dtype != np.uint8:
        raise ValueError(f"{dtype}, must be uint8 in C order")
    n = min(count, shape[0])
    size = int(np.prod(shape[1:])) * n
    return np.frombuffer(file.read(size), np.uint8).reshape(n, *shape[1:])
