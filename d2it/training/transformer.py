"""Training that the grain and the content transformer share: AdamW and averaged weights."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from d2it.params.sections import TransformerParams
from d2it.ranks.ranks import Ranks
from d2it.ranks.sharding import shard, whole
from d2it.seeds import TrainingSeeds
from d2it.training.adam import Adam
from d2it.training.checkpoints import Checkpoints
from d2it.training.compiled import compile_layers
from d2it.training.ema import EMA
from d2it.training.loop import Curve, train
from d2it.training.run import MicroBatch, Numbers, Report, TrainingRun, Update

Model = TypeVar("Model", bound=nn.Module)


def train_transformer(
    model: Model, loss: Callable[[MicroBatch, Any], tuple[Tensor, Numbers]], *, name: str,
    read: Callable[[MicroBatch], Any], params: TransformerParams, micro_batch: int, rows: int, seeds: TrainingSeeds,
    checkpoints: Checkpoints, report: Report, ranks: Ranks, sharded: bool = False, shown: Sequence[str] = (),
    preview: Callable[[Model, int], None] | None = None,
) -> tuple[Model, Curve]:  # fmt: skip
    """Train from the newest good checkpoint, or from the start.

    Args:
        model: on its device, with initial weights.
        loss, read: as in `Update`.
        name: 'grain' or 'content'; the stage is `train_<name>`.
        params, micro_batch, rows, seeds, checkpoints, report, ranks, shown: as in `TrainingRun`.
            On a GPU its layers are compiled, unless the environment has PyTorch's TORCH_COMPILE_DISABLE=1.
        preview: draws pictures at checkpoints, on rank 0; given the averaged model and images seen. Not called where
            ranks share out the weights.
        sharded: among several ranks each holds its share of the weights; see `ranks.sharding`.

    Returns:
        The averaged weights, and the curve; see `train`, also for what is raised.
    """
    averaged, device = EMA(model, params.ema_decay), next(model.parameters()).device
    result = averaged.model
    if device.type == "cuda":
        compile_layers(model)
    if sharded and ranks.size > 1:
        result = copy.deepcopy(averaged.model)  # whole, for what is returned
        for each in (model, averaged.model):
            shard(each, precision=params.precision)
    adamw = Adam(model.parameters(), weight_decay=params.weight_decay)
    rate = params.learning_rate
    update = Update(name=name, model=model, optimizer=adamw, learning_rate=rate, loss=loss, read=read)
    whole_model = result is averaged.model
    run = TrainingRun(
        params=params, micro_batch=micro_batch, rows=rows, seeds=seeds, device=device,
        checkpoints=checkpoints, report=report, label=f"train_{name}", ema=averaged, ranks=ranks, shown=shown,
        preview=partial(preview, averaged.model) if preview and whole_model else None,
    )  # fmt: skip
    curve = train([update], run)
    if not whole_model:
        result.load_state_dict({name: whole(x) for name, x in averaged.model.state_dict().items()})
    return result, curve
