"""A hang is a fault: a training that makes no step for very long shows where it hangs, and ends."""

import faulthandler
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from types import TracebackType

from d2it.errors import UserError

MULTIPLE = 50  # of the median step
LEAST_SECONDS = 600.0  # a checkpoint on a slow file system, or a first step that compiles, takes minutes
REMEMBERED = 101  # steps that the median is taken of


class Watchdog:
    """Calls `on_hang` from a thread of its own, once no step has been made for `limit` seconds.

    Every rank has one: in a collective operation that one rank never joins, all of them hang, and all show their
    stacks. `LEAST_SECONDS` can be set by the environment's D2IT_HANG_SECONDS.
    """

    def __init__(self, label: str, on_hang: Callable[[], None]) -> None:
        self._label, self._on_hang = label, on_hang
        self._least = _least_seconds()
        self._steps: deque[float] = deque(maxlen=REMEMBERED)  # seconds of each
        self._newest = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._newest = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    @property
    def limit(self) -> float:
        """Seconds without a step that are a hang."""
        return max(self._least, MULTIPLE * median(self._steps)) if self._steps else self._least

    def step(self) -> None:
        """A step has been made."""
        now = time.monotonic()
        self._steps.append(now - self._newest)
        self._newest = now

    def _watch(self) -> None:
        while not self._ended.wait(self._least / 20):
            seconds, limit = time.monotonic() - self._newest, self.limit
            if seconds > limit:
                print(f"{self._label}: no step for {seconds:.0f} s (limit: {limit:.0f} s): it hangs here:",
                      file=sys.stderr, flush=True)  # fmt: skip
                faulthandler.dump_traceback(sys.stderr)
                self._on_hang()
                return


def _least_seconds() -> float:
    """D2IT_HANG_SECONDS.

    Raises:
        UserError: it is no positive number.
    """
    given = os.environ.get("D2IT_HANG_SECONDS", str(LEAST_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"D2IT_HANG_SECONDS = {given!r}: must be a number of seconds above 0")
    return seconds
