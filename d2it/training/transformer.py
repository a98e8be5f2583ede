"""Training that the grain and the content transformer share: AdamW and averaged weights."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from d2it.params.sections import TransformerParams
from d2it.ranks.ranks import Ranks
from d2it.seeds import TrainingSeeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.loop import Curve, MicroBatch, Report, TrainingRun, Update, train

Model = TypeVar("Model", bound=nn.Module)


def train_transformer(
    model: Model, loss: Callable[[MicroBatch], tuple[Tensor, Mapping[str, Tensor]]], *, name: str,
    read: Callable[[NDArray[np.int64]], Any], params: TransformerParams, rows: int, seeds: TrainingSeeds,
    checkpoints: Checkpoints, report: Report, ranks: Ranks,
) -> tuple[Model, Curve]:  # fmt: skip
    """Train from the newest good checkpoint, or from the start.

    Args:
        model: on its device, with initial weights.
        loss: of a micro-batch: the mean to lower, and numbers for the curve.
        name: 'grain' or 'content'; the stage is `train_<name>`.
        read: rows (micro_batch,) to the micro-batch's `data`, ahead of time, in other threads.
        params, rows, seeds, checkpoints, report, ranks: as in `TrainingRun`.

    Returns:
        The averaged weights, and the curve; see `train`, also for what is raised.
    """
    adamw = torch.optim.AdamW(model.parameters(), weight_decay=params.weight_decay, fused=True)
    ema = EMA(model, params.ema_decay)
    rate = params.learning_rate
    update = Update(name=name, model=model, optimizer=adamw, learning_rate=rate, loss=loss, read=read)
    run = TrainingRun(
        params=params, rows=rows, seeds=seeds, device=next(model.parameters()).device, checkpoints=checkpoints,
        report=report, label=f"train_{name}", ema=ema, ranks=ranks,
    )  # fmt: skip
    curve = train([update], run)
    return ema.model, curve
