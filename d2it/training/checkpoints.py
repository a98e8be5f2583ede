"""Checkpoints: one safetensors file each, complete or absent; training goes on from the newest good one.

One of them outlives the training: that from before the learning rate falls, with which a longer or shorter training,
otherwise the same, begins.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from d2it.errors import NonFiniteError
from d2it.files import link_or_copy, replacing
from d2it.finite import require_finite
from d2it.nested import differences, flatten
from d2it.saved import SavedModelError, read_tensors, write_tensors

KEEP = 2
_NAME = re.compile(r"step-(\d{9})\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """What trainings share that differ in their length alone: each leaves a checkpoint, in a folder of its own."""

    folder: Path  # of all their folders
    own: str  # name of this training's folder, from which it does not start itself
    step: int  # the last one that it has in common with longer ones; 0: none


class Checkpoint(NamedTuple):
    """What a file holds."""

    step: int
    tensors: dict[str, Tensor]
    records: dict[str, Any]
    of_trunk: bool  # written by a training of another length


class Checkpoints:
    """Checkpoints in one folder, named by their step."""

    def __init__(self, folder: Path, origin: Mapping[str, Any] | None = None, trunk: Trunk | None = None) -> None:
        """`origin`: what is trained, and on what; anything JSON can hold."""
        self.folder, self.trunk = folder, trunk
        self.origin: dict[str, Any] = json.loads(json.dumps(origin or {}))

    def save(self, step: int, tensors: dict[str, Tensor], records: dict[str, Any]) -> None:
        """Write atomically (a temporary file, flushed to disk and renamed), then drop all but the newest two.

        `records`: anything JSON can hold.
        """
        texts = {"records": json.dumps(records), "origin": json.dumps(self.origin)}
        path = self.folder / f"step-{step:09d}.safetensors"
        with replacing(path, durable=True) as part:
            write_tensors(part, tensors, texts)
        if self.trunk is not None and step == self.trunk.step:
            own = self.trunk.folder / self.trunk.own
            with replacing(own / path.name) as part:
                part.unlink(missing_ok=True)  # a kill may have left it, as another name of a checkpoint
                link_or_copy(path, part)
        for old in _paths(self.folder)[:-KEEP]:
            old.unlink(missing_ok=True)

    def newest(self, device: torch.device, at_most: int | None = None) -> Checkpoint | None:
        """The newest checkpoint that is what was written, and finite; or None.

        `at_most`: its step, for a rank that has to start where rank 0 does.

        Raises:
            SavedModelError: it is of something else than what is trained here.
        """
        for path in sorted([*_paths(self.folder), *self._paths_of_trunk()], key=_step, reverse=True):
            if at_most is not None and _step(path) > at_most:
                continue
            try:
                tensors, texts = read_tensors(path)
                records, origin = (json.loads(texts[name]) for name in ("records", "origin"))
                for name, tensor in tensors.items():
                    require_finite(tensor, name)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError, NonFiniteError) as error:
                print(f"{path}: skipped, not a good checkpoint ({error})", flush=True)
                continue
            self._refuse_another(path, origin)
            of_trunk = path.parent != self.folder
            return Checkpoint(_step(path), {name: x.to(device) for name, x in tensors.items()}, records, of_trunk)
        return None

    def _refuse_another(self, path: Path, origin: dict[str, Any]) -> None:
        theirs, ours = differences(flatten(origin), flatten(self.origin))
        if theirs:
            raise SavedModelError(f"{path}: a checkpoint of {theirs}; this run trains {ours}: remove the file")

    def _paths_of_trunk(self) -> list[Path]:
        if self.trunk is None:
            return []
        others = [folder for folder in sorted(self.trunk.folder.glob("*")) if folder.name != self.trunk.own]
        return [path for folder in others for path in _paths(folder) if _step(path) <= self.trunk.step]


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*.safetensors") if _NAME.fullmatch(path.name))


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])
