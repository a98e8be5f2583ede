"""Seeds of independent random streams, named by what they are for."""

import hashlib
from typing import NamedTuple, Protocol


class StreamNumbers(Protocol):
    """The section `seeds` of params.yaml: a number for each kind of stream, so that one of them can be varied alone."""

    @property
    def weights(self) -> int: ...
    @property
    def order(self) -> int: ...
    @property
    def noise(self) -> int: ...


class TrainingSeeds(NamedTuple):
    """Seeds of one model's training, each of a family of streams that shares nothing with the others."""

    weights: int  # initial weights
    order: int  # of the images
    noise: int  # timesteps, noise, dropout, hidden labels


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names`, such as ('sample', image_index): different names, independent streams."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def training_seeds(seed: int, numbers: StreamNumbers, model: str) -> TrainingSeeds:
    """Of the model's training: all change with `seed`, and each alone with its number."""
    return TrainingSeeds(
        weights=stream_seed(seed, model, "weights", numbers.weights),
        order=stream_seed(seed, model, "order", numbers.order),
        noise=stream_seed(seed, model, "noise", numbers.noise),
    )
