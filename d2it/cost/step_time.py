"""How long a step of training takes: the real one, but for the bar, the curve and checkpoints."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from statistics import median
from typing import Any

import torch

from d2it.training.means import Means
from d2it.training.read_ahead import read_ahead
from d2it.training.run import MicroBatch, TrainingRun, Update
from d2it.training.step import Descent

TOGETHER = 10  # steps that are timed as one: a GPU is waited for after them


def seconds_per_step(
    updates: Sequence[Update], run: TrainingRun, *, steps: int, warm_up: int = TOGETHER, first: int = 0
) -> float:
    """Median over tens of steps, after a warm-up in which all is compiled.

    Args:
        updates, run: as of `train`, on one rank or several; the weights are changed.
        steps: timed, a multiple of ten.
        warm_up: steps before them, a multiple of ten.
        first: number of the first step.
    """
    descents, means, tens = [Descent(update, run, str) for update in updates], Means(run.device), []

    def coming() -> Iterator[tuple[Update, MicroBatch]]:
        for step in range(first, first + warm_up + steps):
            for update in updates:
                yield from ((update, micro) for micro in run.micro_batches(step, update.name))

    with closing(read_ahead(_read, coming())) as data:
        for start in range(first, first + warm_up + steps, TOGETHER):
            began = time.perf_counter()
            for step in range(start, start + TOGETHER):
                for descent in descents:
                    descent.step(step, data, means)
                if run.ema is not None:
                    run.ema.update(updates[0].model, step)
            if run.device.type == "cuda":
                torch.cuda.synchronize()
            tens.append((time.perf_counter() - began) / TOGETHER)
    return median(tens[warm_up // TOGETHER :])


def _read(coming: tuple[Update, MicroBatch]) -> Any:
    update, micro = coming
    return update.read(micro)
