"""Progress of long work: how far, how fast, how long still.

A bar where stderr is a terminal; otherwise, as in a log file, a line now and then. A job that writes a log can also
keep its state in a small file (environment variable D2IT_PROGRESS), from which another process draws the bar, and then
leaves out the log's lines; tqdm, which draws it, cannot do either.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import NoReturn

from tqdm import tqdm

from d2it.files import write_text

LINE_SECONDS = 30.0  # between two lines in a log
STATE_SECONDS = 0.5  # between two states in the file
_LINE = re.compile(r".+: \d+(/\d+ (\S+) \(\d+%\)| \S+), \d+\.\d \S+/s(,|$)")  # what `line` writes


@dataclass(kw_only=True)
class State:
    """How far some work is; `start` of `total` were done before it began, in an earlier run."""

    label: str
    unit: str
    total: int
    start: int
    done: int
    shown: str = ""  # the numbers, formatted


class Progress:
    """Shows the progress of a loop; use as a context manager and call `update` after each step."""

    def __init__(self, total: int, label: str, unit: str = "img", start: int = 0) -> None:
        """`total`, `start`: counts of `unit`, total 0 where it is not known; `label`: one or two words."""
        self.state = State(label=label, unit=unit, total=total, start=start, done=start)
        self._bar: tqdm[NoReturn] | None = None
        self._file: Path | None = None

    def __enter__(self) -> "Progress":
        self._began = self._last_line = monotonic()
        self._last_state = float("-inf")
        if sys.stderr.isatty():
            self._bar = _bar(self.state)
        elif os.environ.get("D2IT_PROGRESS"):
            self._file = Path(os.environ["D2IT_PROGRESS"])
        return self

    def update(self, n: int, numbers: Mapping[str, float] | None = None) -> None:
        """`n` more are done; `numbers` are shown beside them and stay until others come."""
        self.state.done += n
        if numbers is not None:
            self.state.shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self._bar is not None:
            _draw(self._bar, self.state)
            return
        now = monotonic()
        if self._file is not None and now - self._last_state >= STATE_SECONDS:
            self._write_state(now)
        if now - self._last_line >= LINE_SECONDS:
            self._write_line(now)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            return
        now = monotonic()
        self._write_line(now)
        if self._file is not None:
            self._write_state(now)

    def _write_state(self, now: float) -> None:
        assert self._file is not None
        self._last_state = now
        with contextlib.suppress(OSError):  # a full disk must not stop the work for want of a bar
            write_text(self._file, json.dumps(asdict(self.state)))

    def _write_line(self, now: float) -> None:
        self._last_line = now
        print(line(self.state, now - self._began), file=sys.stderr, flush=True)


def line(state: State, seconds: float) -> str:
    """The state as a line of a log; `seconds` since the work began."""
    rate = (state.done - state.start) / seconds if seconds > 0 else 0.0
    of_all = f"/{state.total} {state.unit} ({100 * state.done / state.total:.0f}%)" if state.total else f" {state.unit}"
    parts = [f"{state.label}: {state.done}{of_all}", f"{rate:.1f} {state.unit}/s"]
    if rate > 0 and state.total:
        parts.append(f"{tqdm.format_interval((state.total - state.done) / rate)} left")
    return ", ".join(parts + ([state.shown] if state.shown else []))


def is_line(text: str) -> bool:
    """Whether a line of a log is one of `line`: where a bar is drawn, they need not be shown as well."""
    return _LINE.match(text) is not None


class Mirror:
    """Draws, on this process's stderr, the bar of a `Progress` in another process, from its file."""

    def __init__(self, file: Path) -> None:
        """`file`: the other process's D2IT_PROGRESS; it may not exist yet."""
        self._file = file
        self._stamp = 0
        self._bar: tqdm[NoReturn] | None = None
        self._work: tuple[str, int, int] | None = None

    def poll(self) -> None:
        """Draw what is new, if anything is."""
        try:
            stamp = self._file.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            state = State(**json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return
        self._stamp = stamp
        work = (state.label, state.total, state.start)
        if work != self._work:
            self.close()
            self._bar, self._work = _bar(state), work
        if self._bar is not None:
            _draw(self._bar, state)
            self._bar.refresh()  # states come seldom: each is drawn

    def close(self) -> None:
        """Leave the bar on the screen as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _bar(state: State) -> "tqdm[NoReturn]":
    return tqdm(
        total=state.total or None,
        initial=state.start,
        desc=state.label,
        unit=state.unit,
        file=sys.stderr,
        dynamic_ncols=True,
    )


def _draw(bar: "tqdm[NoReturn]", state: State) -> None:
    bar.set_postfix_str(state.shown, refresh=False)
    bar.update(state.done - bar.n)
