"""Which images a step sees: a pure function of seed and step, so that resuming needs no random state."""

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from d2it.seeds import stream_seed

if TYPE_CHECKING:  # pydantic, without which the GPU benchmarks do
    from d2it.params.sections import TrainingParams


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    return np.random.default_rng(stream_seed(seed, "epoch", epoch)).permutation(rows)


def batch_rows(seed: int, step: int, batch_size: int, rows: int) -> NDArray[np.int64]:
    """Rows (batch_size,) of a step: one permutation of all rows after the other, cut into batches without gaps."""
    position = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offset = np.divmod(position, rows)
    batch = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        batch[here] = _permutation(seed, int(epoch), rows)[offset[here]]
    return batch


def learning_rate(base: float, images_seen: int, images: int, *, warmup: int, cooldown: int) -> float:
    """Linear warm-up from 0 over `warmup` images, then constant, then linearly to 0 over the last `cooldown`.

    A pure function of the images seen before the step, so that it does not depend on interruptions.
    """
    rise = min(1.0, (images_seen + 1) / warmup) if warmup else 1.0
    fall = min(1.0, max(0.0, (images - images_seen) / cooldown)) if cooldown else 1.0
    return base * min(rise, fall)


def trunk_step(params: "TrainingParams") -> int:
    """The last step up to which longer trainings do the same; 0: none.

    It lies before the learning rate falls, at a point of the curve that longer trainings have as well.
    """
    B, every = params.batch_size, params.log_images
    whole = params.images - params.cooldown_images if params.cooldown_images else params.steps * B
    for points in range(whole // every, 0, -1):
        step = -(-points * every // B)  # the first one with so many images
        if step * B <= whole:
            return step
    return 0
