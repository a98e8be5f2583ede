"""The training loop that the three training stages share.

A step's batch is shared out among the ranks, and each share is cut into micro-batches that fit into memory. What is
drawn at random belongs to an image, so neither changes the result but in its last digits; gradient accumulation is the
case of one rank.
"""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import torch

from d2it.progress import Progress
from d2it.ranks.stopping import Stopped
from d2it.saved import SavedModelError
from d2it.training.background import BackgroundWriter
from d2it.training.checkpoints import Checkpoint
from d2it.training.means import Means
from d2it.training.preview import draw_preview
from d2it.training.read_ahead import read_ahead
from d2it.training.run import MicroBatch, TrainingRun, Update
from d2it.training.state import load_state, state_tensors
from d2it.training.step import Descent
from d2it.training.watchdog import Watchdog

Curve = list[dict[str, float]]


def train(updates: list[Update], run: TrainingRun) -> Curve:
    """Train from the newest good checkpoint, or from the start, to run.params.images.

    The checkpoint may be of a training that differs in its length alone, up to where they part.

    A checkpoint is written at intervals, while training goes on. When the process is asked to end, and at the end, it
    is waited for: what follows may fail.

    Returns:
        The curve: at each point `images` and the mean of every number since the point before.

    Raises:
        NonFiniteLossError: a loss or gradient became NaN or infinite.
        SavedModelError: a checkpoint is of something else, or not to be seen by all ranks.
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
    descents = [Descent(update, run, partial(_last_good, run, writes)) for update in updates]
    with run.ranks.stop.between_steps(), bar as progress, watchdog, reads as data, writes as writer:
        progress.update(0, run.shown_of(curve[-1] if curve else {}))
        for step in range(start, params.steps):
            seen = step * params.batch_size
            for descent in descents:
                if seen >= descent.update.starts_at:
                    descent.step(step, data, means)
            if run.ema is not None:
                run.ema.update(updates[0].model, step)
            progress.update(params.batch_size)
            watchdog.step()
            seen += params.batch_size
            asked, last = run.ranks.asked_to_stop(), step + 1 == params.steps
            point = last or _crosses(seen, params.batch_size, params.log_images)
            checkpoint = asked or last or _crosses(seen, params.batch_size, params.checkpoint_images)
            checkpoint |= step + 1 == run.trunk_step
            if point or checkpoint:
                for descent in descents:
                    descent.require_finite()
            if point:
                numbers = means.take(run.ranks)
                curve.append({"images": seen, **numbers})
                run.report(seen, numbers)
                progress.update(0, run.shown_of(numbers))
            if checkpoint:
                records = {"curve": list(curve), "means": means.state(run.ranks)}  # on all ranks
                tensors = state_tensors(updates, run.ema, keep=run.ranks.rank == 0)
                if run.ranks.rank == 0:
                    writer.save(step + 1, tensors, records)
            if asked or last:
                writer.wait()
            elif checkpoint and run.ranks.rank == 0:
                draw_preview(run, [update.model for update in updates], seen)
            if asked:
                run.ranks.barrier()  # a rank that left would take the others with it
                print(f"{run.label}: stopped after step {step + 1} ({seen} images)", flush=True)
                raise Stopped(asked)
    return curve


def _print_not_written(label: str, step: int, error: Exception) -> None:
    """A full disk does not end a training that goes well."""
    print(f"{label}: checkpoint of step {step} not written: {error}", flush=True)


def _last_good(run: TrainingRun, writer: BackgroundWriter) -> str:
    writer.wait()
    newest = run.checkpoints.newest(torch.device("cpu"))
    last = f"last good checkpoint: step {newest.step}" if newest else "no checkpoint yet"
    return f"{last} in {run.checkpoints.folder}"


def _coming(updates: list[Update], run: TrainingRun, start: int) -> Iterator[tuple[Update, MicroBatch]]:
    """This rank's micro-batches from step `start` on, in the order in which `train` comes to them."""
    for step in range(start, run.params.steps):
        for update in updates:
            if step * run.params.batch_size >= update.starts_at:
                for micro in run.micro_batches(step, update.name):
                    yield update, micro


def _read(coming: tuple[Update, MicroBatch]) -> Any:
    update, micro = coming
    return update.read(micro)


def _resume(updates: list[Update], run: TrainingRun, means: Means) -> tuple[int, Curve]:
    newest = _same_on_all_ranks(run)
    if newest is None:
        return 0, []
    load_state(updates, run.ema, newest.tensors)
    step, curve = newest.step, list(newest.records["curve"])
    if run.ranks.rank == 0:
        means.restore(newest.records["means"])
    origin = " of a training that differs in its length alone" if newest.of_trunk else ""
    print(f"{run.label}: going on from step {step} ({step * run.params.batch_size} images){origin}", flush=True)
    for point in curve if newest.of_trunk else []:
        run.report(int(point["images"]), {name: value for name, value in point.items() if name != "images"})
    return step, curve


def _same_on_all_ranks(run: TrainingRun) -> Checkpoint | None:
    """Rank 0's newest: another training may leave its own while the ranks look for one."""
    newest = run.checkpoints.newest(run.device) if run.ranks.rank == 0 else None
    step = int(run.ranks.broadcast(torch.tensor(newest.step if newest else 0)))
    if run.ranks.rank and step:
        newest = run.checkpoints.newest(run.device, at_most=step)
        if newest is None or newest.step != step:
            raise SavedModelError(f"{run.checkpoints.folder}: rank {run.ranks.rank} sees no good checkpoint of {step=}")
    return newest


def _crosses(seen: int, batch_size: int, every: int) -> bool:
    return seen // every > (seen - batch_size) // every
