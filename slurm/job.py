"""A job: what the launcher sees of it from outside, and what runs inside it."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.errors import is_users


class Job(Protocol):
    """A submitted job, seen from the machine that waits for it."""

    id: str
    log: Path  # stdout and stderr of rank 0
    state: str  # a word to show

    def poll(self) -> int | None:
        """Exit code, 128 + n for a job that signal n ended; None while it is queued or runs. Never blocks long."""

    def stop(self) -> None:
        """End the job: ask, wait a bounded time, then force. Returns when it is gone."""


@dataclass(frozen=True)
class Files:
    """Small files that a job keeps beside its log for whoever waits for it."""

    folder: Path
    name: str  # of the submission; unique

    @property
    def progress(self) -> Path:
        """What d2it/progress.py keeps up to date."""
        return self.folder / f"{self.name}.progress"

    @property
    def exit_code(self) -> Path:
        """The job's exit code, written last: a cluster forgets a job minutes after its end."""
        return self.folder / f"{self.name}.exit"


def run_in_job(files: Files, function: Callable[..., object], *arguments: Any) -> None:
    """Call `function` as a job does: TERM and INT stop it in order, and a user's error is one line.

    Exit code of the process: 0; 2 after a user's error; 128 + n after signal n; Python's 1 after any other exception.
    """
    for number in (signal.SIGTERM, signal.SIGINT):  # submitit ignores TERM; a shell's background jobs ignore INT
        signal.signal(number, _stop)
    os.environ["D2IT_PROGRESS"] = str(files.progress)
    code = 1
    try:
        function(*arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end, _Stopped):
            print(f"stopped by {end.name}", file=sys.stderr)
        raise
    except ValueError as error:
        if not is_users(error):
            raise
        code = 2
        print(error, file=sys.stderr)
    finally:
        files.exit_code.write_text(str(code))
    if code:
        raise SystemExit(code)


def run_stage(name: str, key: str) -> None:
    """Run a stage; torch and MLflow are imported here, inside the job, not by the launcher."""
    from stages.entry import run

    run(name, key)


class _Stopped(SystemExit):
    """Somebody asked the job to end."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def _stop(number: int, _: object) -> None:
    raise _Stopped(number)
