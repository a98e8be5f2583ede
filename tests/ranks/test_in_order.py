"""Batches shared out among real processes: their results are those of one process, in its order."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from d2it.data.arrays import Arrays
from d2it.ranks.in_order import in_order
from d2it.ranks.ranks import Ranks
from d2it.ranks.stopping import Stopped

SIZE = 3
WORK = ([], [0], [4, 2], [0, 1, 2], [5, 6, 7, 11], list(range(7)))  # more ranks than batches, as many, uneven rounds


def compute(batch: int) -> Arrays:
    """Results of different shapes and dtypes, some without a value."""
    x = np.random.default_rng(batch).standard_normal((batch % 3, 50))
    return x, x.astype(np.float16)[:, ::2], np.array(batch, np.uint8)


def assert_equal(results: list[Arrays], expected: list[Arrays]) -> None:
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected, strict=True):
        assert [(x.dtype, x.shape, x.tobytes()) for x in ours] == [(x.dtype, x.shape, x.tobytes()) for x in theirs]


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=SIZE)
    ranks = Ranks(rank, SIZE)
    for batches in WORK:
        computed: list[int] = []

        def note(batch: int, computed: list[int] = computed) -> Arrays:
            computed.append(batch)
            return compute(batch)

        results = list(in_order(ranks, batches, note))
        assert_equal(results, [compute(batch) for batch in batches] if rank == 0 else [])
        assert computed == batches[rank::SIZE]
    _leave_between_rounds(ranks)
    dist.destroy_process_group()


def _leave_between_rounds(ranks: Ranks) -> None:
    """Rank 1 alone is asked, in the middle of its second batch."""
    computed: list[int] = []
    taken: list[Arrays] = []

    def compute_until_asked(batch: int) -> Arrays:
        if batch == SIZE + 1:
            ranks.stop.ask(15)
        computed.append(batch)
        return compute(batch)

    def take() -> None:
        for result in in_order(ranks, range(4 * SIZE), compute_until_asked):
            taken.append(result)

    with pytest.raises(Stopped) as stopped:
        take()
    assert stopped.value.code == 128 + 15
    assert computed == [ranks.rank, SIZE + ranks.rank]
    assert_equal(taken, [compute(batch) for batch in range(2 * SIZE)] if ranks.rank == 0 else [])


def test_rank_0_gets_every_result_in_order_and_all_leave_between_the_same_rounds(tmp_path: Path) -> None:
    mp.spawn(_rank, (tmp_path,), nprocs=SIZE)


def test_a_process_alone_computes_one_batch_at_a_time_and_can_be_left_at_once() -> None:
    ranks = Ranks()
    results = in_order(ranks, range(3), compute)
    assert_equal([next(results)], [compute(0)])
    with pytest.raises(Stopped):
        ranks.stop.ask(15)
    assert_equal(list(results), [compute(1), compute(2)])
