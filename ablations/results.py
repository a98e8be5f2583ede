"""What an experiment has left in DVC: its numbers, curves and samples, read at its commit without a checkout."""

import csv
import io
import json
import math
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO

import numpy as np
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from numpy.typing import NDArray

from ablations.experiments import State, Task, known
from ablations.plan import Experiment, identity_of, params_of
from stages.stage import NAMES

Curve = list[tuple[float, float]]  # images seen, value
UNREADABLE = (OSError, ValueError, KeyError, DvcException)  # not in the cache of this machine, or of another format


class Outputs:
    """The outputs of one experiment."""

    def __init__(self, root: Path, commit: str) -> None:
        self._files = DVCFileSystem(str(root), rev=commit)

    @cached_property
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
            with (self._files.open("outputs/sample/samples.npz", "rb") as file, zipfile.ZipFile(file) as members,
                  members.open("arr_0.npy") as images,
                  self._files.open("outputs/sample/grain_maps.npy", "rb") as maps):  # fmt: skip
                return _first(images, count), _first(maps, count)
        except (*UNREADABLE, zipfile.BadZipFile):
            return None


@dataclass(frozen=True)
class Result:
    """Where one experiment stands."""

    experiment: Experiment
    name: str  # the name it bears in DVC, maybe that of another table
    state: State
    outputs: Outputs | None = None

    @property
    def other_code(self) -> bool:
        """Whether it was made by code that has changed since."""
        return self.state == "done" and identity_of(self.name) != self.experiment.identity


class Results:
    """All experiments of the repository."""

    def __init__(self, root: Path, done: dict[str, str], tasks: tuple[Task, ...]) -> None:
        self._root, self._done = root, done
        self._known = known(done, tasks)
        self._by_params = {params_of(name): name for name in done}

    def knows(self, experiment: Experiment) -> bool:
        """Whether it has ever been asked for, with this code or other."""
        return experiment.identity in self._known or params_of(experiment.name) in self._by_params

    def of(self, experiment: Experiment) -> Result:
        """Where it stands; one that other code has made counts until it is run again."""
        older = self._by_params.get(params_of(experiment.name))
        by_older_code: tuple[str, State] = (older, "done") if older else (experiment.name, "missing")
        name, state = self._known.get(experiment.identity, by_older_code)
        return Result(experiment, name, state, _outputs(self._root, self._done[name]) if state == "done" else None)


@cache
def _outputs(root: Path, commit: str) -> Outputs:
    """Of a commit, which never change: a table that is looked at again reads them once."""
    return Outputs(root, commit)


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
    first = (min(count, shape[0]), *shape[1:])
    return np.frombuffer(file.read(math.prod(first)), np.uint8).reshape(first)
