"""Checkpoints are written while training goes on: it waits for a copy in memory, not for the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from d2it.training.checkpoints import Checkpoints


class BackgroundWriter:
    """Writes one checkpoint at a time, in a thread; use as a context manager, which waits for the last one."""

    def __init__(self, checkpoints: Checkpoints, failed: Callable[[int, Exception], None]) -> None:
        """`failed`: called in that thread with the step and the reason where a checkpoint could not be written."""
        self._checkpoints, self._failed = checkpoints, failed
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, tensors: dict[str, Tensor], records: dict[str, Any]) -> None:
        """As `Checkpoints.save`, later; the copy takes as much of the host's memory as the file of the disk.

        Waits first until the checkpoint before is written.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, step, _copies(tensors), records)

    def wait(self) -> None:
        """Until all is written that was given to `save`."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _write(self, step: int, tensors: dict[str, Tensor], records: dict[str, Any]) -> None:
        try:
            self._checkpoints.save(step, tensors, records)
        except (OSError, SafetensorError) as error:
            self._failed(step, error)

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In the host's memory, with the same strides; from a GPU all at once."""
    copies = {}
    for name, x in tensors.items():
        copies[name] = torch.empty_like(x, device="cpu", pin_memory=x.is_cuda).copy_(x, non_blocking=True)
    if any(x.is_cuda for x in tensors.values()):
        torch.cuda.current_stream().synchronize()
    return copies
