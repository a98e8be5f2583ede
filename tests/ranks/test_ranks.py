"""What ranks gather of micro-batches is what one process has, in its order and to the bit."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from d2it.ranks.ranks import Ranks

MICRO_BATCHES = 4


def of_micro_batch(number: int) -> Tensor:
    """Another length each, one of them 0: (n, 3)."""
    n = (5, 0, 2, 7)[number]
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(number))


def gathered(ranks: Ranks) -> list[Tensor]:
    return ranks.gather([of_micro_batch(number) for number in ranks.share(MICRO_BATCHES)])


def _rank(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size)
    torch.save(gathered(Ranks(rank, size)), folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_every_rank_gathers_all_micro_batches_in_order(tmp_path: Path, size: int) -> None:
    expected = [of_micro_batch(number) for number in range(MICRO_BATCHES)]
    assert all(torch.equal(a, b) for a, b in zip(gathered(Ranks()), expected, strict=True))
    mp.spawn(_rank, (size, tmp_path), nprocs=size)
    for rank in range(size):
        of_rank = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert all(torch.equal(a, b) for a, b in zip(of_rank, expected, strict=True))
