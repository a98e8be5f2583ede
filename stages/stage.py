"""The context of a running stage: its params, folders, device and ranks, and where its curves go.

Each `stages/<name>.py` has a function `main(stage: Stage) -> dict[str, float]`: read inputs, call d2it, write
`stage.out`, and return the final numbers, which `stages/entry.py` writes to `metrics.json` and to MLflow. Where several
ranks run it, rank 0 writes and returns; the others compute their share and may return {}.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from d2it.params.sections import Params, TrainingParams
from d2it.ranks.ranks import Ranks
from d2it.training.batches import trunk_step
from d2it.training.checkpoints import Checkpoints, Trunk

if TYPE_CHECKING:
    from stages.judge import Judge

NAMES = ("prepare", "train_dvae", "encode_latents", "train_grain", "train_content", "sample", "fid")


class Report(Protocol):
    """Takes the curves and pictures of a running stage; never blocks, and never raises where a server is away."""

    def __call__(
        self, step: int, numbers: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]] | None = None
    ) -> None:
        """`step`: images seen so far; pictures are uint8 (H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of one stage."""

    name: str
    params: Params
    outputs: Path  # outputs/, which also holds the inputs from other stages
    scratch: Path  # .d2it/scratch/<name>-<key>/ at the real root, for checkpoints; stays when the stage is killed
    weights: Path  # folder of downloaded weights
    device: torch.device
    ranks: Ranks
    report: Report
    judge: "Judge | None" = None  # of previews, where `preview_metrics` asks for numbers, on rank 0
    trunk: Path | None = None  # .d2it/trunks/<name>-<key>/, for checkpoints with which longer trainings begin

    def checkpoints(self, origin: Mapping[str, Any], params: TrainingParams) -> Checkpoints:
        """Of a training; `origin` as in `Checkpoints`."""
        trunk = None
        if self.trunk is not None:
            trunk = Trunk(folder=self.trunk, own=self.scratch.name, step=trunk_step(params))
        return Checkpoints(self.scratch, origin, trunk)

    @property
    def previews(self) -> bool:
        """Whether anything is drawn at checkpoints."""
        return self.params.preview_images > 0 or self.judge is not None

    @property
    def out(self) -> Path:
        """outputs/<name>/, which exists."""
        return self.outputs / self.name

    @property
    def main_rank(self) -> bool:
        """Whether this is rank 0, which alone writes files and draws pictures."""
        return self.ranks.rank == 0
