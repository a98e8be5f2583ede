"""Checkpoints: one safetensors file each, complete or absent; training goes on from the newest good one."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from d2it.errors import NonFiniteError
from d2it.files import replacing
from d2it.finite import require_finite
from d2it.nested import differences, flatten
from d2it.saved import SavedModelError, read_tensors, write_tensors

KEEP = 2
_NAME = re.compile(r"step-(\d{9})\.safetensors")


class Checkpoints:
    """Checkpoints in one folder, named by their step."""

    def __init__(self, folder: Path, origin: Mapping[str, Any] | None = None) -> None:
        """`origin`: what is trained, and on what; anything JSON can hold."""
        self.folder = folder
        self.origin: dict[str, Any] = json.loads(json.dumps(origin or {}))

    def save(self, step: int, tensors: dict[str, Tensor], records: dict[str, Any]) -> None:
        """Write atomically (a temporary file, flushed to disk and renamed), then drop all but the newest two.

        `records`: anything JSON can hold.
        """
        texts = {"records": json.dumps(records), "origin": json.dumps(self.origin)}
        with replacing(self.folder / f"step-{step:09d}.safetensors", durable=True) as part:
            write_tensors(part, tensors, texts)
        for old in self._paths()[:-KEEP]:
            old.unlink(missing_ok=True)

    def newest(self, device: torch.device) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """Step, tensors and records of the newest checkpoint that is what was written, and finite; or None.

        Raises:
            SavedModelError: it is of something else than what is trained here.
        """
        for path in reversed(self._paths()):
            try:
                tensors, texts = read_tensors(path)
                records, origin = (json.loads(texts[name]) for name in ("records", "origin"))
                for name, tensor in tensors.items():
                    require_finite(tensor, name)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError, NonFiniteError) as error:
                print(f"{path}: skipped, not a good checkpoint ({error})", flush=True)
                continue
            self._refuse_another(path, origin)
            return self._step(path), {name: x.to(device) for name, x in tensors.items()}, records
        return None

    def _refuse_another(self, path: Path, origin: dict[str, Any]) -> None:
        theirs, ours = differences(flatten(origin), flatten(self.origin))
        if theirs:
            raise SavedModelError(f"{path}: a checkpoint of {theirs}; this run trains {ours}: remove the file")

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*.safetensors") if _NAME.fullmatch(path.name))

    @staticmethod
    def _step(path: Path) -> int:
        match = _NAME.fullmatch(path.name)
        assert match is not None
        return int(match[1])
