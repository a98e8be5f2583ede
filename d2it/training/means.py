"""Means of numbers between two points of a curve."""

from collections.abc import Mapping

import torch
from torch import Tensor

from d2it.ranks.ranks import Ranks


class Means:
    """Sums are kept where numbers are computed, in float64: only reading them waits for a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, numbers: Mapping[str, Tensor | float], images: int = 1) -> None:
        """Scalars by name; `images`: how many each is the mean of, its weight."""
        for name, value in numbers.items():
            if isinstance(value, Tensor):
                value = value.detach().double()
            self._sums[name] = self._sums.get(name, 0.0) + images * value
            self._counts[name] = self._counts.get(name, 0) + images

    def state(self, ranks: Ranks) -> dict[str, tuple[float, int]]:
        """Sum and count of each number over all ranks, which must hold the same names; for a checkpoint."""
        names = sorted(self._sums)
        if not names:
            return {}
        sums = [torch.as_tensor(self._sums[name], dtype=torch.float64, device=self._device) for name in names]
        counts = torch.tensor([self._counts[name] for name in names], dtype=torch.float64, device=self._device)
        both = ranks.sum(torch.stack([torch.stack(sums), counts]))
        return {name: (float(both[0, i]), int(both[1, i])) for i, name in enumerate(names)}

    def restore(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Go on from a `state`; on one rank only."""
        self._sums = {name: x for name, (x, _) in state.items()}
        self._counts = {name: count for name, (_, count) in state.items()}

    def take(self, ranks: Ranks) -> dict[str, float]:
        """Means over all ranks since the last call, and start anew."""
        means = {name: total / count for name, (total, count) in self.state(ranks).items()}
        self._sums, self._counts = {}, {}
        return means
