"""What ranks gather is what one process has, in its order and to the bit; a batch is shared out evenly."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from d2it.ranks.ranks import Ranks


def of_rank(rank: int) -> Tensor:
    """Another length each, one of them 0: (n, 3)."""
    n = (5, 0, 2, 7)[rank]
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(rank))


def _rank(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size)
    torch.save(Ranks(rank, size).gather(of_rank(rank)), folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_every_rank_gathers_what_all_have_in_the_order_of_the_ranks(tmp_path: Path, size: int) -> None:
    expected = torch.cat([of_rank(rank) for rank in range(size)])
    mp.spawn(_rank, (size, tmp_path), nprocs=size)
    for rank in range(size):
        assert torch.equal(torch.load(tmp_path / f"rank{rank}.pt", weights_only=True), expected)


def test_one_rank_gathers_its_own() -> None:
    assert torch.equal(Ranks().gather(of_rank(3)), of_rank(3))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_shares_of_a_batch_are_equal_and_in_order(size: int) -> None:
    shares = [Ranks(rank, size).share(16) for rank in range(size)]
    assert [place for share in shares for place in share] == list(range(16))
    assert {len(share) for share in shares} == {16 // size}
