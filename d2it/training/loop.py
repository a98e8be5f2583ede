"""The training loop that the three training stages share.

A step cuts its batch into micro-batches of fixed size, each with its own random streams, shared out among the ranks:
the result does not depend on how many ranks there are, and gradient accumulation is the case of one rank.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from d2it.params.sections import TrainingParams
from d2it.progress import Progress
from d2it.ranks.ranks import Ranks
from d2it.ranks.stopping import Stopped
from d2it.seeds import TrainingSeeds, stream_seed
from d2it.training.background import BackgroundWriter
from d2it.training.batches import batch_rows, learning_rate
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.means import Means
from d2it.training.read_ahead import read_ahead
from d2it.training.state import load_state, state_tensors
from d2it.training.watchdog import Watchdog

Curve = list[dict[str, float]]
Report = Callable[[int, Mapping[str, float]], None]  # (images seen, numbers), at each point of the curve


class NonFiniteLossError(RuntimeError):
    """The loss or a gradient is not finite; the message names the step and the last good checkpoint."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """What a loss needs: which rows, its random stream, and how far training is."""

    number: int  # of the micro-batch in its step
    rows: NDArray[np.int64]  # (micro_batch,)
    generator: torch.Generator
    images_seen: int  # before this step
    data: Any = None  # what `Update.read` read of the rows


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimiser, the loss that it lowers, and when it joins."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: float
    loss: Callable[[MicroBatch], tuple[Tensor, Mapping[str, Tensor]]]  # mean over the micro-batch, and numbers
    read: Callable[[NDArray[np.int64]], Any] = lambda _: None  # rows (micro_batch,); ahead of time, in other threads
    starts_at: int = 0  # images seen
    after_step: Callable[[int], None] | None = None  # (step), on all ranks, once the optimiser has made its step


@dataclass(kw_only=True)
class TrainingRun:
    """What `train` needs beside the updates."""

    params: TrainingParams
    rows: int  # of the training set
    seeds: TrainingSeeds
    device: torch.device
    checkpoints: Checkpoints
    report: Report
    label: str
    ema: EMA[Any] | None = None
    ranks: Ranks = field(default_factory=Ranks)


def train(updates: list[Update], run: TrainingRun) -> Curve:
    """Train from the newest good checkpoint, or from the start, to run.params.images.

    A checkpoint is written at intervals, while training goes on. When the process is asked to end, and at the end, it
    is waited for: what follows may fail.

    Returns:
        The curve: at each point `images` and the mean of every number since the point before.

    Raises:
        NonFiniteLossError: a loss or gradient became NaN or infinite.
        Stopped: this process was asked to end; there is a checkpoint of the last step.
    """
    params = run.params
    means = Means(run.device)
    start, curve = _resume(updates, run, means)
    seen = start * params.batch_size
    whole = params.steps * params.batch_size
    bar, watchdog = Progress(whole, run.label, start=seen), Watchdog(run.label, run.ranks.stop.hung)
    reads = closing(read_ahead(_read, _coming(updates, run, start)))
    writes = BackgroundWriter(run.checkpoints, partial(_print_not_written, run.label))
    with run.ranks.stop.between_steps(), bar as progress, watchdog, reads as data, writes as writer:
        for step in range(start, params.steps):
            seen = step * params.batch_size
            for update in _joined(updates, seen):
                _update(update, run, step, means=means, data=data, writer=writer)
            if run.ema is not None:
                run.ema.update(updates[0].model, step)
            progress.update(params.batch_size)
            watchdog.step()
            seen += params.batch_size
            if _crosses(seen, params.batch_size, params.log_images) or step + 1 == params.steps:
                point = means.take(run.ranks)
                curve.append({"images": seen, **point})
                run.report(seen, point)
            asked, last = run.ranks.asked_to_stop(), step + 1 == params.steps
            if asked or last or _crosses(seen, params.batch_size, params.checkpoint_images):
                records = {"curve": list(curve), "means": means.state(run.ranks)}  # on all ranks
                if run.ranks.rank == 0:
                    writer.save(step + 1, state_tensors(updates, run.ema), records)
            if asked or last:
                writer.wait()
            if asked:
                run.ranks.barrier()  # a rank that left would take the others with it
                print(f"{run.label}: stopped after step {step + 1} ({seen} images)", flush=True)
                raise Stopped(asked)
    return curve


def micro_batches(run: TrainingRun, step: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """This rank's share of a step: number of the micro-batch in the step, and its rows (micro_batch,)."""
    params = run.params
    rows = batch_rows(run.seeds.order, step, params.batch_size, run.rows)
    for number in run.ranks.share(params.batch_size // params.micro_batch):
        yield number, rows[number * params.micro_batch : (number + 1) * params.micro_batch]


def _print_not_written(label: str, step: int, error: Exception) -> None:
    """A full disk does not end a training that goes well."""
    print(f"{label}: checkpoint of step {step} not written: {error}", flush=True)


def _joined(updates: list[Update], seen: int) -> list[Update]:
    return [update for update in updates if seen >= update.starts_at]


def _coming(updates: list[Update], run: TrainingRun, start: int) -> Iterator[tuple[Update, NDArray[np.int64]]]:
    """This rank's micro-batches from step `start` on, in the order in which `train` comes to them."""
    for step in range(start, run.params.steps):
        for update in _joined(updates, step * run.params.batch_size):
            for _, rows in micro_batches(run, step):
                yield update, rows


def _read(coming: tuple[Update, NDArray[np.int64]]) -> Any:
    update, rows = coming
    return update.read(rows)


def _resume(updates: list[Update], run: TrainingRun, means: Means) -> tuple[int, Curve]:
    newest = run.checkpoints.newest(run.device)
    if newest is None:
        return 0, []
    step, tensors, records = newest
    load_state(updates, run.ema, tensors)
    if run.ranks.rank == 0:
        means.restore(records["means"])
    print(f"{run.label}: going on from step {step} ({step * run.params.batch_size} images)", flush=True)
    return step, list(records["curve"])


def _crosses(seen: int, batch_size: int, every: int) -> bool:
    return seen // every > (seen - batch_size) // every


def _clip(parameters: list[nn.Parameter], limit: float) -> Tensor:
    """The norm of all gradients, which are scaled down to the limit; 0: none."""
    if limit:
        return nn.utils.clip_grad_norm_(parameters, limit)
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _update(
    update: Update, run: TrainingRun, step: int, *, means: Means, data: Iterator[Any], writer: BackgroundWriter
) -> None:
    params = run.params
    count = params.batch_size // params.micro_batch
    seen = step * params.batch_size
    update.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=run.device)
    for number, rows in micro_batches(run, step):
        names = (update.name, step, number)
        torch.manual_seed(stream_seed(run.seeds.noise, *names))  # dropout knows only the global stream
        generator = torch.Generator(run.device).manual_seed(stream_seed(run.seeds.noise, *names, "drawn"))
        with torch.autocast(run.device.type, torch.bfloat16, enabled=params.precision == "bfloat16"):
            micro = MicroBatch(number=number, rows=rows, generator=generator, images_seen=seen, data=next(data))
            loss, numbers = update.loss(micro)
        (loss / count).backward()
        total += loss.detach() / count
        means.add({name: value.detach() for name, value in numbers.items()})
    parameters = [p for p in update.model.parameters() if p.requires_grad]
    run.ranks.sum_gradients(parameters)
    run.ranks.sum(total)
    norm = _clip(parameters, params.gradient_clip)
    if not math.isfinite(float(total) + float(norm)):
        writer.wait()
        newest = run.checkpoints.newest(torch.device("cpu"))
        last = f"last good checkpoint: step {newest[0]}" if newest else "no checkpoint yet"
        raise NonFiniteLossError(
            f"{run.label}: {update.name}'s loss is {float(total)}, its gradient norm {float(norm)}, at step {step} "
            f"({seen} images); {last} in {run.checkpoints.folder}"
        )
    ramps = {"warmup": params.warmup_images, "cooldown": params.cooldown_images}
    rate = learning_rate(update.learning_rate, seen, params.images, **ramps)
    for group in update.optimizer.param_groups:
        group["lr"] = rate
    update.optimizer.step()
    if update.after_step is not None:
        update.after_step(step)
    means.add({f"{update.name}_gradient_norm": norm, "learning_rate": torch.tensor(rate)})
