"""Follows the log file of a running job."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

_BLOCK = 1 << 20


class Follower:
    """Passes on the lines of a growing file, and keeps the last ones."""

    def __init__(self, path: Path, show: Callable[[str], None], remember: int = 12, skip: int = 0) -> None:
        """`path` may not exist yet; `show` gets each line, without its end, from byte `skip` on."""
        self._path, self._show = path, show
        self._read = skip
        self._rest = b""
        self.last: deque[str] = deque(maxlen=remember)

    def pump(self, end: bool = False) -> None:
        """Show all new whole lines; at the `end` of the job also a last line without a line end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                while block := file.read(_BLOCK):
                    self._read += len(block)
                    *lines, self._rest = (self._rest + block).split(b"\n")
                    self._emit(lines)
        except FileNotFoundError:
            return
        if end and self._rest:
            self._emit([self._rest])
            self._rest = b""

    def _emit(self, lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode("utf-8", errors="replace")
            self._show(text)
            if text.strip():
                self.last.append(text)
