"""Data-parallel ranks: which images of a step a rank computes, and the mean of all ranks' gradients."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from d2it.ranks.sharding import exchange_gradients, is_sharded
from d2it.ranks.stopping import Stop


@dataclass(frozen=True)
class Ranks:
    """This process among `size` equal ones; (0, 1) when training alone."""

    rank: int = 0
    size: int = 1
    stop: Stop = field(default_factory=Stop)

    def share(self, batch_size: int) -> range:
        """Images of a step that this rank computes, by their place in its batch.

        Raises:
            ValueError: they do not divide evenly.
        """
        if batch_size % self.size:
            raise ValueError(
                f"batch_size {batch_size} cannot be shared by {self.size} ranks: must be a multiple of their number"
            )
        own = batch_size // self.size
        return range(self.rank * own, (self.rank + 1) * own)

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """The module in PyTorch's wrapper, which averages gradients over ranks while the backward pass goes on.

        `find_unused_parameters` keeps the buckets of the exchange as they are at first, and with them the order of
        sums: otherwise both follow the first step after a start, and a training that goes on would differ by rounding.
        """
        if self.size == 1 or any(map(is_sharded, module.modules())):
            return module
        return DistributedDataParallel(
            module, broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=True
        )

    def summing_gradients(self, module: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around a micro-batch of `data_parallel`'s module: gradients are exchanged with the `last` one of a step."""
        for sharded in filter(is_sharded, module.children()):
            exchange_gradients(sharded, last)
        no_sync = isinstance(module, DistributedDataParallel) and not last
        return module.no_sync() if no_sync else nullcontext()  # type: ignore[operator]

    def gather(self, own: Tensor) -> Tensor:
        """What each rank has, on all ranks: (n_i, C), another n_i each, one after the other."""
        if self.size == 1:
            return own
        lengths = [int(n) for n in self._gather(torch.tensor(len(own)))]  # on the CPU
        gathered = self._gather(nn.functional.pad(own, (0, 0, 0, max(lengths) - len(own))))
        return torch.cat([x[:n] for x, n in zip(gathered, lengths, strict=True)])

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
