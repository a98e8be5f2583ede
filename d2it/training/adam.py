"""Adam and AdamW, fused, by the function that PyTorch's own classes call.

To construct one of those classes imports PyTorch's compiler, which takes as long as PyTorch itself, at each start.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

EPSILON = 1e-8  # PyTorch's own, as all that is not given here


class Optimizer(Protocol):
    """What a training needs of an optimiser: PyTorch's have it, and `Adam`."""

    param_groups: list[dict[str, Any]]  # with 'params' and 'lr'

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> float | None:
        """Change the parameters by their gradients, at the groups' learning rates."""

    def state_dict(self) -> dict[str, Any]:
        """'state': tensors by name, by number of the parameter; 'param_groups'."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""


class Adam:
    """AdamW (Loshchilov and Hutter 2019); Adam (Kingma and Ba 2015) without weight decay. The same bytes as PyTorch's
    with `fused=True`, and the same state."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        """`weight_decay`: times the learning rate, what a step takes of each parameter. The rate is set before it."""
        self.parameters, self.betas, self.weight_decay = list(parameters), betas, weight_decay
        self.param_groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": 0.0}]
        self._state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """As in `Optimizer`."""
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """As in `Optimizer`; a parameter without a gradient stays as it is."""
        moved = [(i, p) for i, p in enumerate(self.parameters) if p.grad is not None]
        for i, p in moved:
            if i not in self._state:
                self._state[i] = _start(p)
        states = [self._state[i] for i, _ in moved]
        (group,), (beta1, beta2) = self.param_groups, self.betas
        adam(
            [p for _, p in moved], [p.grad for _, p in moved if p.grad is not None],
            [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states], [],
            [state["step"] for state in states],
            fused=True, amsgrad=False, maximize=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=self.weight_decay, eps=EPSILON, decoupled_weight_decay=True,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """As in `Optimizer`: `exp_avg`, `exp_avg_sq` and `step` of each parameter that has moved."""
        return {"state": self._state, "param_groups": self.param_groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in `Optimizer`; tensors are taken over as they lie in memory, which must be as their parameters do."""
        devices = [p.device for p in self.parameters]
        self._state = {
            i: {name: x.to(devices[i]) for name, x in state.items()} for i, state in state_dict["state"].items()
        }


def _start(p: Tensor) -> dict[str, Tensor]:
    return {
        "step": torch.zeros((), dtype=torch.float32, device=p.device),
        "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
    }
