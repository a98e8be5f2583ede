"""Data-parallel ranks: which micro-batches a rank computes, and the sum of all ranks' gradients."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from d2it.ranks.stopping import Stop


@dataclass(frozen=True)
class Ranks:
    """This process among `size` equal ones; (0, 1) when training alone."""

    rank: int = 0
    size: int = 1
    stop: Stop = field(default_factory=Stop)

    def share(self, micro_batches: int) -> range:
        """Micro-batches of this rank.

        Raises:
            ValueError: they do not divide evenly.
        """
        if micro_batches % self.size:
            raise ValueError(
                f"{micro_batches} micro-batches per step (batch_size / micro_batch) cannot be shared by "
                f"{self.size} ranks: must be a multiple of the number of ranks"
            )
        return range(self.rank, micro_batches, self.size)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over ranks, in one all-reduce; a missing gradient counts as zero."""
        parameters = list(parameters)
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)  # alone too: Adam would skip what it has no gradient of
        if self.size == 1:
            return
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        dist.all_reduce(flat)
        start = 0
        for p in parameters:
            assert p.grad is not None
            p.grad.copy_(flat[start : start + p.numel()].view_as(p))
            start += p.numel()

    def gather(self, own: list[Tensor]) -> list[Tensor]:
        """What each micro-batch has, on all ranks: (n_i, C), another n_i each, in the order of the micro-batches.

        Args:
            own: of this rank's micro-batches, as `share` deals them out.
        """
        if self.size == 1:
            return own
        lengths = self._gather(torch.tensor([len(x) for x in own]))  # on the CPU
        longest = max(int(of_rank.sum()) for of_rank in lengths)
        flat = torch.cat(own)
        gathered = self._gather(nn.functional.pad(flat, (0, 0, 0, longest - len(flat))))
        ranks = [x[: int(n.sum())].split(n.tolist()) for x, n in zip(gathered, lengths, strict=True)]
        return [x for of_round in zip(*ranks, strict=True) for x in of_round]

    def _gather(self, x: Tensor) -> list[Tensor]:
        """The tensor of every rank, equal in shape."""
        all_ranks = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(all_ranks, x)
        return all_ranks

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))  # on the CPU, as all that is small

    def asked_to_stop(self) -> int:
        """The signal that has asked any rank to end, 0 for none; the same on all ranks, which all call this."""
        if self.size == 1:
            return self.stop.asked
        asked = torch.tensor(self.stop.asked)  # on the CPU: gloo carries it also beside nccl
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        return int(asked)

    def broadcast(self, x: Tensor) -> Tensor:
        """Rank 0's values, in place."""
        if self.size > 1:
            dist.broadcast(x, 0)
        return x

    def sum(self, x: Tensor) -> Tensor:
        """Sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(x)
        return x
