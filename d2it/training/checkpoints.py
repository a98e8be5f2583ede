"""Checkpoints: one safetensors file each, complete or absent; the newest good one is found at start, or refused."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from d2it.saved import SavedModelError, differences, flat

KEEP = 2
_NAME = re.compile(r"step-(\d{9})\.safetensors")


class Checkpoints:
    """Checkpoints in one folder, named by their step."""

    def __init__(self, folder: Path, made_of: Mapping[str, Any] | None = None) -> None:
        """`made_of`: what is trained, and on what; anything JSON can hold."""
        self.folder = folder
        self.made_of: dict[str, Any] = json.loads(json.dumps(made_of or {}))

    def save(self, step: int, tensors: dict[str, Tensor], records: dict[str, Any]) -> None:
        """Write atomically (a temporary file, flushed to disk and renamed), then drop all but the newest two.

        `records`: anything JSON can hold.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:09d}.safetensors"
        temporary = path.with_suffix(".part")
        try:
            texts = {"records": json.dumps(records), "made_of": json.dumps(self.made_of)}
            save_file({name: x.contiguous() for name, x in tensors.items()}, temporary, texts)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        for old in self._paths()[:-KEEP]:
            old.unlink(missing_ok=True)

    def newest(self, device: torch.device) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """Step, tensors and records of the newest checkpoint that reads well, or None.

        Raises:
            SavedModelError: it is of something else than what is trained here.
        """
        for path in reversed(self._paths()):
            try:
                with safe_open(path, framework="pt", device=str(device)) as file:
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    records, made_of = (json.loads(file.metadata()[name]) for name in ("records", "made_of"))
            except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
                print(f"{path}: skipped, not a whole checkpoint ({error})", flush=True)
                continue
            self._refuse_another(path, made_of)
            return self._step(path), tensors, records
        return None

    def _refuse_another(self, path: Path, made_of: dict[str, Any]) -> None:
        theirs, ours = differences(flat(made_of), flat(self.made_of))
        if theirs:
            raise SavedModelError(f"{path}: a checkpoint of {theirs}; this run trains {ours}: remove the file")

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*.safetensors") if _NAME.fullmatch(path.name))

    @staticmethod
    def _step(path: Path) -> int:
        found = _NAME.fullmatch(path.name)
        assert found is not None
        return int(found[1])
