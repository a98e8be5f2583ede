"""The training loop that the three training stages share.

A step cuts its batch into micro-batches of fixed size, each with its own random streams, shared out among the ranks:
the result does not depend on how many ranks there are, and gradient accumulation is the case of one rank.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from d2it.params import Training
from d2it.progress import Progress
from d2it.seeds import stream_seed
from d2it.stopping import Stopped
from d2it.training.batches import batch_rows, learning_rate
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.means import Means
from d2it.training.ranks import Ranks
from d2it.training.state import load_state, state_tensors

Curve = list[dict[str, float]]


class NonFiniteLossError(RuntimeError):
    """The loss or a gradient is not finite; the message names the step and the last good checkpoint."""


@dataclass(frozen=True)
class MicroBatch:
    """What a loss is told: which rows, its random stream, and how far training is."""

    number: int  # of the micro-batch in its step
    rows: NDArray[np.int64]  # (micro_batch,)
    generator: torch.Generator
    images_seen: int  # before this step


@dataclass(frozen=True)
class Update:
    """One optimiser, the loss that it lowers, and when it joins."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: float
    loss: Callable[[MicroBatch], tuple[Tensor, Mapping[str, Tensor]]]  # mean over the micro-batch, and numbers
    starts_at: int = 0  # images seen
    after_step: Callable[[int], None] | None = None  # (step), on all ranks, once the optimiser has made its step


@dataclass
class Run:
    """What `train` needs beside the updates."""

    config: Training
    rows: int  # of the training set
    seed: int
    device: torch.device
    checkpoints: Checkpoints
    report: Callable[[int, Mapping[str, float]], None]  # (images seen, numbers), at each point of the curve
    label: str
    ema: EMA[Any] | None = None
    ranks: Ranks = field(default_factory=Ranks)


def train(updates: list[Update], run: Run) -> Curve:
    """Train from the newest good checkpoint, or from the start, to config.images.

    A checkpoint is written at intervals, when the process is asked to end, and at the end: what follows may fail.

    Returns:
        The curve: at each point `images` and the mean of every number since the point before.

    Raises:
        NonFiniteLossError: a loss or gradient became NaN or infinite.
        Stopped: somebody asked; there is a checkpoint of the last step.
    """
    config = run.config
    means = Means(run.device)
    start, curve = _resume(updates, run, means)
    seen = start * config.batch_size
    whole = config.steps * config.batch_size
    with run.ranks.stop.between_steps(), Progress(whole, run.label, start=seen) as progress:
        for step in range(start, config.steps):
            seen = step * config.batch_size
            for update in updates:
                if seen >= update.starts_at:
                    _update(update, run, step, means)
            if run.ema is not None:
                run.ema.update(updates[0].model)
            progress.update(config.batch_size)
            seen += config.batch_size
            if _crosses(seen, config.batch_size, config.log_images) or step + 1 == config.steps:
                point = means.take(run.ranks)
                curve.append({"images": seen, **point})
                run.report(seen, point)
            asked, last = run.ranks.asked_to_stop(), step + 1 == config.steps
            if asked or last or _crosses(seen, config.batch_size, config.checkpoint_images):
                save(updates, run, step + 1, curve, means)
            if asked:
                run.ranks.barrier()  # a rank that left would take the others with it
                print(f"{run.label}: stopped after step {step + 1} ({seen} images)", flush=True)
                raise Stopped(asked)
    return curve


def micro_batches(run: Run, step: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """This rank's share of a step: number of the micro-batch in the step, and its rows (micro_batch,)."""
    config = run.config
    rows = batch_rows(run.seed, step, config.batch_size, run.rows)
    for number in run.ranks.share(config.batch_size // config.micro_batch):
        yield number, rows[number * config.micro_batch : (number + 1) * config.micro_batch]


def save(updates: list[Update], run: Run, step: int, curve: Curve, means: Means) -> None:
    """Write a checkpoint after `step` steps; all ranks call it, rank 0 writes.

    A full disk does not end a training that goes well: the line in the log says which checkpoint is missing.
    """
    records = {"curve": curve, "means": means.state(run.ranks)}
    if run.ranks.rank:
        return
    try:
        run.checkpoints.save(step, state_tensors(updates, run.ema), records)
    except (OSError, SafetensorError) as error:
        print(f"{run.label}: checkpoint of step {step} not written: {error}", flush=True)


def _resume(updates: list[Update], run: Run, means: Means) -> tuple[int, Curve]:
    found = run.checkpoints.newest(run.device)
    if found is None:
        return 0, []
    step, tensors, records = found
    load_state(updates, run.ema, tensors)
    if run.ranks.rank == 0:
        means.restore(records["means"])
    print(f"{run.label}: going on from step {step} ({step * run.config.batch_size} images)", flush=True)
    return step, list(records["curve"])


def _crosses(seen: int, batch_size: int, every: int) -> bool:
    return seen // every > (seen - batch_size) // every


def _update(update: Update, run: Run, step: int, means: Means) -> None:
    config = run.config
    count = config.batch_size // config.micro_batch
    seen = step * config.batch_size
    update.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=run.device)
    for number, rows in micro_batches(run, step):
        torch.manual_seed(stream_seed(run.seed, update.name, step, number))  # dropout knows only the global stream
        generator = torch.Generator(run.device).manual_seed(stream_seed(run.seed, update.name, step, number, "noise"))
        with torch.autocast(run.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss, numbers = update.loss(MicroBatch(number, rows, generator, seen))
        (loss / count).backward()
        total += loss.detach() / count
        means.add({name: value.detach() for name, value in numbers.items()})
    parameters = [p for p in update.model.parameters() if p.requires_grad]
    run.ranks.sum_gradients(parameters)
    run.ranks.sum(total)
    norm = nn.utils.clip_grad_norm_(parameters, config.gradient_clip or math.inf)
    if not math.isfinite(float(total) + float(norm)):
        found = run.checkpoints.newest(torch.device("cpu"))
        last = f"last good checkpoint: step {found[0]}" if found else "no checkpoint yet"
        raise NonFiniteLossError(
            f"{run.label}: {update.name}'s loss is {float(total)}, its gradient norm {float(norm)}, at step {step} "
            f"({seen} images); {last} in {run.checkpoints.folder}"
        )
    rate = learning_rate(update.learning_rate, seen, config.images, config.warmup_images, config.cooldown_images)
    for group in update.optimizer.param_groups:
        group["lr"] = rate
    update.optimizer.step()
    if update.after_step is not None:
        update.after_step(step)
    means.add({f"{update.name}_gradient_norm": norm, "learning_rate": torch.tensor(rate)})
