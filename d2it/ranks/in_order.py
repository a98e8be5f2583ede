"""Work that is cut into batches, shared out among ranks, with results as if one process had done it all."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist

from d2it.data.arrays import Arrays, pack, unpack
from d2it.ranks.ranks import Ranks
from d2it.ranks.stopping import Stopped


def in_order(ranks: Ranks, batches: Sequence[int], compute: Callable[[int], Arrays]) -> Iterator[Arrays]:
    """`compute(batch)` of each of `batches`: on rank 0 in their order, one at a time; on other ranks nothing.

    All ranks call this with the same batches. Ranks other than 0 have computed their share when it returns; rank 0
    computes its own while it goes through the results, and must go through all of them.

    Raises:
        Stopped: a rank was asked to end; raised between two rounds, on all ranks. A process alone is left at once.
    """
    results = _alone(batches, compute) if ranks.size == 1 else _shared(ranks, batches, compute)
    return results if ranks.rank == 0 else iter(list(results))


def _alone(batches: Sequence[int], compute: Callable[[int], Arrays]) -> Iterator[Arrays]:
    for batch in batches:
        yield compute(batch)


def _shared(ranks: Ranks, batches: Sequence[int], compute: Callable[[int], Arrays]) -> Iterator[Arrays]:
    """Rounds of one batch per rank; the last round may not have one for each."""
    with ranks.stop.between_steps():
        for start in range(0, len(batches), ranks.size):
            if asked := ranks.asked_to_stop():
                raise Stopped(asked)
            of_round = batches[start : start + ranks.size]
            own = compute(of_round[ranks.rank]) if ranks.rank < len(of_round) else None
            if ranks.rank == 0:
                assert own is not None
                yield own
                for rank in range(1, len(of_round)):
                    yield _receive(rank)
            elif own is not None:
                _send(own)


def _send(arrays: Arrays) -> None:
    """To rank 0, over the CPU: the content's length, then the content."""
    content = torch.frombuffer(bytearray(pack(arrays)), dtype=torch.uint8)
    dist.send(torch.tensor(len(content)), 0)
    dist.send(content, 0)


def _receive(rank: int) -> Arrays:
    length = torch.tensor(0)
    dist.recv(length, rank)
    content = torch.empty(int(length), dtype=torch.uint8)
    dist.recv(content, rank)
    return unpack(content.numpy().tobytes())
