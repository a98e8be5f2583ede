"""Ending in order: a signal asks, and long work leaves where nothing is lost.

Signal handlers call `Stop.ask`. Work that can only stop between two of its steps says so with `Stop.between_steps`
and looks at `Stop.asked` there; all other work is left at once.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Stopped(SystemExit):
    """This process was asked to end, and did; exit code 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


LOST_SECONDS = 0.05  # from a Stopped that was lost to the next one
HUNG = 75  # exit code; EX_TEMPFAIL of sysexits.h: may go well another time


def _exit_hung() -> None:
    os._exit(HUNG)  # from a thread: the main one hangs


@dataclass
class Stop:
    """Whether this process has been asked to end; `asked` is the signal's number, 0 before.

    `hung` is called from another thread where the process hangs; it must end the process.
    """

    asked: int = 0
    hung: Callable[[], None] = _exit_hung
    _deferred: bool = False

    def ask(self, number: int) -> None:
        """Called by a signal handler.

        Raises:
            Stopped: at once, unless `between_steps` holds.
        """
        self.asked = self.asked or number
        if not self._deferred:
            raise Stopped(number)

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within, `ask` only leaves a note in `asked`; whoever uses this must look at it soon and raise `Stopped`."""
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before


def stop_again_where_lost(stop: Stop) -> None:
    """Raise `Stopped` once more where Python has dropped it; for the main thread.

    Python only prints what a signal handler raises inside a destructor or the callback of a weak reference, such as
    those of imports, and goes on.
    """
    before = sys.unraisablehook

    def hook(lost: "sys.UnraisableHookArgs") -> None:
        if not isinstance(lost.exc_value, Stopped):
            before(lost)
            return
        number = lost.exc_value.number
        signal.signal(signal.SIGALRM, lambda *_: stop.ask(number))
        signal.setitimer(signal.ITIMER_REAL, LOST_SECONDS)

    sys.unraisablehook = hook
