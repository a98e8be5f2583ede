"""What may end the waiting before the job ends: signals, a lost terminal, and a DVC that is gone."""

import contextlib
import signal
import time
from typing import Literal

import psutil

Reaction = Literal["cancel", "detach"]
WATCH_SECONDS = 1.0


class Interrupt:
    """Says whether, and why, the launcher should stop waiting; a context manager that takes over the signals.

    INT and TERM cancel the job, HUP (a lost terminal) leaves it running. A DVC that was killed leaves it running too,
    for the next `dvc repro` to find; but not that of a queued experiment, which `dvc queue kill` ends.
    """

    def __init__(self) -> None:
        self.number = 0  # the signal that came, or stands for what happened
        self.reason = ""
        self.reaction: Reaction = "cancel"
        self._dvc = _dvc()
        self._queued = self._dvc is not None and "exec-run" in _command(self._dvc)
        self._looked = time.monotonic()

    def __enter__(self) -> "Interrupt":
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._before = {number: signal.signal(number, self._come) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def came(self) -> bool:
        """Whether to stop waiting."""
        if not self.number and time.monotonic() - self._looked >= WATCH_SECONDS:
            self._looked = time.monotonic()
            if self._dvc is not None and _is_gone(self._dvc):
                reaction: Reaction = "cancel" if self._queued else "detach"
                self._note(signal.SIGTERM if self._queued else signal.SIGHUP, "dvc was killed", reaction)
        return self.number != 0

    def lost_terminal(self) -> None:
        """Nobody reads our output any more."""
        self._note(signal.SIGHUP, "nobody reads the output any more", "detach")

    def _come(self, number: int, _: object) -> None:
        if self.number and self.reaction == "cancel" and number != signal.SIGHUP:
            raise KeyboardInterrupt  # the second one: do not wait for the job to end by itself
        reaction: Reaction = "detach" if number == signal.SIGHUP else "cancel"
        self._note(number, signal.Signals(number).name, reaction)

    def _note(self, number: int, reason: str, reaction: Reaction) -> None:
        if not self.number:
            self.number, self.reason, self.reaction = number, reason, reaction


def _dvc() -> psutil.Process | None:
    """The process that runs us, behind the shell that DVC puts between."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process().parent()
        if parent is not None and "-c" in _command(parent) and "slurm" in " ".join(_command(parent)):
            parent = parent.parent()
        return parent
    return None


def _is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; one that nobody has reaped has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []
