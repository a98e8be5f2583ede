"""What training is made of: updates, their losses, and how a step's batch is cut into micro-batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from d2it.diffusion.noise import ImageStreams
from d2it.ranks.ranks import Ranks
from d2it.seeds import TrainingSeeds, stream_seed
from d2it.training.adam import Optimizer
from d2it.training.batches import batch_rows
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA

if TYPE_CHECKING:  # pydantic, without which the GPU benchmarks do
    from d2it.params.sections import TrainingParams

Numbers = Mapping[str, Tensor]  # scalars by name, for the curve
Report = Callable[[int, Mapping[str, float]], None]  # (images seen, numbers), at each point of the curve


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """The images of one forward pass.

    What is drawn at random for an image depends on its number in all of training, not on the images beside it: so a
    step may be cut into micro-batches, and shared out among ranks, in any way.
    """

    rows: NDArray[np.int64]  # (B,), of the training set
    places: NDArray[np.int64]  # (B,), in the step's batch
    images_seen: int  # before this step
    batch_size: int  # of the step, over all ranks
    seed: int  # of the streams
    update: str  # its name, part of the streams' names

    def streams(self) -> ImageStreams:
        """A random stream for each image, on the CPU; from its start at each call."""
        return ImageStreams([self._stream(place) for place in self.places.tolist()], torch.device("cpu"))

    def dropout_seed(self) -> int:
        """Of the global stream, which dropout inside blocks draws from: it is the micro-batch's, not an image's."""
        return stream_seed(self._stream(int(self.places[0])), "dropout")

    def _stream(self, place: int) -> int:
        return stream_seed(self.seed, self.update, self.images_seen + place)


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimiser, the loss that it lowers, and when it joins."""

    name: str
    model: nn.Module
    optimizer: Optimizer
    learning_rate: float
    loss: Callable[[MicroBatch, Any], tuple[Tensor, Numbers]]  # of what `read` gave: the images' mean, and numbers
    read: Callable[[MicroBatch], Any] = lambda _: None  # ahead of time, in other threads
    starts_at: int = 0  # images seen
    after_step: Callable[[int], Numbers] = lambda _: {}  # (step), on all ranks, once the optimiser has made its step


@dataclass(kw_only=True)
class TrainingRun:
    """What `train` needs beside the updates."""

    params: "TrainingParams"
    micro_batch: int  # images per forward pass, at most
    rows: int  # of the training set
    seeds: TrainingSeeds
    device: torch.device
    checkpoints: Checkpoints
    report: Report
    label: str
    ema: EMA[Any] | None = None
    ranks: Ranks = field(default_factory=Ranks)
    shown: Sequence[str] = ()  # numbers of the curve that stand beside the bar
    preview: Callable[[int], None] | None = None  # draws pictures at checkpoints, on rank 0; given images seen

    def shown_of(self, point: Mapping[str, float]) -> dict[str, float]:
        """Those of a point of the curve."""
        return {name: point[name] for name in self.shown if name in point}

    @property
    def trunk_step(self) -> int:
        """At which a checkpoint is written that longer trainings may start from; 0: none."""
        return self.checkpoints.trunk.step if self.checkpoints.trunk else 0

    def micro_batches(self, step: int, update: str) -> Iterator[MicroBatch]:
        """This rank's share of a step, in as few micro-batches of about equal size as `micro_batch` allows."""
        batch_size = self.params.batch_size
        rows = batch_rows(self.seeds.order, step, batch_size, self.rows)
        own = self.ranks.share(batch_size)
        for places in np.array_split(np.arange(own.start, own.stop), -(-len(own) // self.micro_batch)):
            yield MicroBatch(
                rows=rows[places], places=places, images_seen=step * batch_size, batch_size=batch_size,
                seed=self.seeds.noise, update=update,
            )  # fmt: skip
