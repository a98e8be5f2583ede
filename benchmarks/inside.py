"""How much time a piece of work spends inside its models."""

import time
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


def now() -> float:
    """Seconds, once a GPU has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Inside:
    """Seconds in all, and inside: in models of one kind, forward and backward, and in optimizers' steps.

    A backward pass counts from the gradient of the model's output on, so that the loss is outside. On a GPU each of
    these waits for the last, so that the share outside is an upper bound. Use as a context manager.
    """

    def __init__(self, kind: type[nn.Module]) -> None:
        """`kind`: of the model, which calls no other of its kind."""
        self.kind, self.inside, self.total = kind, 0.0, 0.0
        self._began = self._entered = 0.0
        self._hooks: list[Any] = []

    @property
    def share_outside(self) -> float:
        """Of all time."""
        return 1 - self.inside / self.total

    def __enter__(self) -> "Inside":
        self._hooks = [
            register_module_forward_pre_hook(lambda model, _: self._enter() if isinstance(model, self.kind) else None),
            register_module_forward_hook(
                lambda model, _, output: self._leave_forward(output) if isinstance(model, self.kind) else None
            ),
            register_optimizer_step_pre_hook(lambda *_: self._enter()),
            register_optimizer_step_post_hook(lambda *_: self._leave()),
        ]
        self._began = now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.total = now() - self._began
        for hook in self._hooks:
            hook.remove()

    def _enter(self) -> None:
        self._entered = now()

    def _leave(self) -> None:
        self.inside += now() - self._entered

    def _leave_forward(self, output: object) -> None:
        self._leave()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(self._enter_backward)

    def _enter_backward(self, _: Tensor) -> None:
        self._enter()
        torch.autograd.Variable._execution_engine.queue_callback(self._leave)  # when all gradients are there
