"""One optimiser step: gradients of a rank's micro-batches, their mean over all ranks, clipping, learning rate."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from d2it.ranks.sharding import whole
from d2it.training.batches import learning_rate
from d2it.training.means import Means
from d2it.training.run import MicroBatch, Numbers, TrainingRun, Update


class NonFiniteLossError(RuntimeError):
    """The loss or a gradient is not finite; the message names the step and the last good checkpoint."""


class Descent:
    """The steps of one update."""

    def __init__(self, update: Update, run: TrainingRun, last_good: Callable[[], str]) -> None:
        """`last_good`: names the checkpoint to go back to, for an error's message."""
        self.update, self._run, self._last_good = update, run, last_good
        self._on_all_ranks = run.ranks.data_parallel(_Loss(update))
        self._parameters = [p for p in update.model.parameters() if p.requires_grad]
        self._unseen: _Outcome | None = None  # of the last step

    def step(self, step: int, data: Iterator[Any], means: Means) -> None:
        """Forward, backward and optimiser; `data`: what `Update.read` read, micro-batch by micro-batch."""
        update, params, device = self.update, self._run.params, self._run.device
        update.optimizer.zero_grad()
        own, total = self._run.ranks.share(params.batch_size), torch.zeros((), device=device)
        for micro in self._run.micro_batches(step, update.name):
            last = micro.places[-1] + 1 == own.stop
            with self._run.ranks.summing_gradients(self._on_all_ranks, last):
                loss, numbers = self._forward(micro, next(data))
                share = loss * (len(micro.rows) / len(own))
                share.backward()
            total += share.detach()
            means.add(numbers, images=len(micro.rows))
        norm = self._clip()
        total = self._run.ranks.sum(total) / self._run.ranks.size
        seen = step * params.batch_size
        ramps = {"warmup": params.warmup_images, "cooldown": params.cooldown_images}
        rate = learning_rate(update.learning_rate, seen, params.images, **ramps)
        for group in update.optimizer.param_groups:
            group["lr"] = rate
        update.optimizer.step()
        means.add({f"{update.name}_gradient_norm": norm, "learning_rate": rate, **update.after_step(step)})
        before, self._unseen = self._unseen, _Outcome(step, torch.stack([total, norm]))
        self._look_at(before)  # the GPU has this step to do meanwhile

    def require_finite(self) -> None:
        """Whether the last step was good, before anything is kept of it; `step` looks at the step before.

        Raises:
            NonFiniteLossError: its loss or gradients were NaN or infinite.
        """
        self._look_at(self._unseen)
        self._unseen = None

    def _forward(self, micro: MicroBatch, data: Any) -> tuple[Tensor, Numbers]:
        device, precision = self._run.device.type, self._run.params.precision
        torch.manual_seed(micro.dropout_seed())
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss, numbers = self._on_all_ranks(micro, data)
        return loss, numbers

    def _clip(self) -> Tensor:
        """The norm of all gradients, which are scaled down to the limit; 0: none."""
        for p in self._parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)  # Adam would skip what no image has needed
        limit = self._run.params.gradient_clip
        if limit:
            return whole(nn.utils.clip_grad_norm_(self._parameters, limit))
        return whole(nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None]))

    def _look_at(self, outcome: "_Outcome | None") -> None:
        if outcome is None:
            return
        loss, norm = outcome.values()
        if math.isfinite(loss + norm):
            return
        raise NonFiniteLossError(
            f"{self._run.label}: {self.update.name}'s loss is {loss}, its gradient norm {norm}, at step {outcome.step} "
            f"({outcome.step * self._run.params.batch_size} images); {self._last_good()}"
        )


class _Loss(nn.Module):
    """The loss as a module, whose forward pass PyTorch's data-parallel wrapper can see."""

    def __init__(self, update: Update) -> None:
        super().__init__()
        self.model = update.model
        self._loss = update.loss

    def forward(self, micro: MicroBatch, data: Any) -> tuple[Tensor, Numbers]:
        return self._loss(micro, data)


class _Outcome:
    """Loss and gradient norm of a step, on their way from a GPU."""

    def __init__(self, step: int, values: Tensor) -> None:
        self.step = step
        self._values = values.to("cpu", non_blocking=True)
        self._copied = torch.cuda.current_stream().record_event() if values.is_cuda else None

    def values(self) -> list[float]:
        """Waits for them."""
        if self._copied is not None:
            self._copied.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers
