"""What can end the waiting before the job ends: signals, a lost terminal, and a killed DVC."""

import contextlib
import signal
import time
from typing import Literal

import psutil

Reaction = Literal["cancel", "detach"]
WATCH_SECONDS = 1.0


class AbandonedError(Exception):
    """The waiting has been ended before there was a job to stop or to leave."""


class Interrupt:
    """Whether, and why, the launcher should stop waiting; a context manager that takes over the signals.

    INT and TERM cancel the job, HUP (a lost terminal) leaves it running. A killed DVC leaves it running too, for the
    next `dvc repro` to wait for; except that of a queued experiment, which `dvc queue kill` ends.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal received, or of the one that stands for the event
        self.reason = ""
        self.reaction: Reaction = "cancel"
        self._hurried = False
        self._dvc = _dvc()
        self._queued = self._dvc is not None and "exec-run" in _command(self._dvc)
        self._last_check = time.monotonic()

    def __enter__(self) -> "Interrupt":
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._before = {number: signal.signal(number, self._on_signal) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Whether to stop waiting."""
        if not self.number and time.monotonic() - self._last_check >= WATCH_SECONDS:
            self._last_check = time.monotonic()
            if self._dvc is not None and _is_gone(self._dvc):
                reaction: Reaction = "cancel" if self._queued else "detach"
                self._record(signal.SIGTERM if self._queued else signal.SIGHUP, "dvc was killed", reaction)
        return self.number != 0

    def hurried(self) -> bool:
        """Whether the wish to cancel was repeated: do not wait for the job to save."""
        return self._hurried

    def check(self) -> None:
        """For waiting that has no job yet.

        Raises:
            AbandonedError: stop waiting.
        """
        if self.requested():
            raise AbandonedError

    def lost_terminal(self) -> None:
        """The launcher's output can no longer be written."""
        self._record(signal.SIGHUP, "nobody reads the output any more", "detach")

    def _on_signal(self, number: int, _: object) -> None:
        if self.number and self.reaction == "cancel" and number != signal.SIGHUP:
            self._hurried = True
        reaction: Reaction = "detach" if number == signal.SIGHUP else "cancel"
        self._record(number, signal.Signals(number).name, reaction)

    def _record(self, number: int, reason: str, reaction: Reaction) -> None:
        if not self.number:
            self.number, self.reason, self.reaction = number, reason, reaction


def _dvc() -> psutil.Process | None:
    """The process that started this one, or the shell between them."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process().parent()
        if parent is not None and "-c" in _command(parent) and "slurm" in " ".join(_command(parent)):
            parent = parent.parent()
        return parent
    return None


def _is_gone(process: psutil.Process) -> bool:
    """Whether it has ended, reaped by its parent or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []
