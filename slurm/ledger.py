"""The ledger: which stage has a job, so that the same stage asked for again finds it instead of submitting another.

An entry is a folder `.d2it/jobs/<stage>-<key>/` at the repository's real root, also for an experiment that runs in a
temporary copy. The key is a hash of the stage's params, code and inputs (stages/key.py): different experiments never
share an entry, equal stages of different experiments do. An entry lives until its result is delivered.
"""

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from slurm.job import Files
from stages.errors import StageError

LOCK_SECONDS = 600.0  # another launcher may be copying a large result
FORGET_DAYS = 30.0  # entries of jobs that ended, and that nobody has asked for since


@dataclass(frozen=True)
class Entry:
    """One stage with one key."""

    root: Path
    stage: str
    key: str

    @property
    def name(self) -> str:
        """Unique among all stages and experiments of this repository."""
        return f"{self.stage}-{self.key[:16]}"

    @property
    def folder(self) -> Path:
        """All of the entry."""
        return self.root / ".d2it" / "jobs" / self.name

    @property
    def tree(self) -> Path:
        """The job's own workspace: frozen code, params and inputs; then its outputs."""
        return self.folder / "tree"

    @property
    def files(self) -> Files:
        """What the job keeps here for its launchers; the logs outlive the entry."""
        return Files(self.folder, self.root / ".d2it" / "logs" / self.name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold while looking for the job, submitting it or delivering its result: one launcher at a time.

        Raises:
            StageError: another launcher holds it for ten minutes.
        """
        with self._open_lock("lock") as file:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if time.monotonic() > deadline:
                    raise StageError(
                        f"{self.stage}: {file.name} is held by another launcher since {LOCK_SECONDS:.0f} s"
                    )
                time.sleep(0.1)
            yield

    @contextmanager
    def waiting(self) -> Iterator["Waiter"]:
        """Count as somebody who waits for this job."""
        with self._open_lock("waiters") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield Waiter(file)

    def _open_lock(self, what: str) -> IO[str]:
        folder = self.root / ".d2it" / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / f"{self.name}.{what}").open("w")

    def record(self, job: dict[str, Any]) -> None:
        """Remember the submitted job; JSON, written whole or not at all."""
        part = self.folder / "submitted.part"
        part.write_text(json.dumps(job | {"submitted": time.strftime("%Y-%m-%d %H:%M:%S")}), encoding="utf-8")
        part.replace(self.folder / "submitted.json")

    def recall(self) -> dict[str, Any] | None:
        """What `record` wrote, None if there is nothing."""
        try:
            job: dict[str, Any] = json.loads((self.folder / "submitted.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return job

    def clear(self) -> None:
        """Forget the job and all that it left but logs and checkpoints."""
        if self.folder.exists():
            gone = self.folder.with_name(f"{self.name}.gone-{time.time_ns()}")
            self.folder.rename(gone)  # never half an entry, also if this process is killed here
            shutil.rmtree(gone, ignore_errors=True)


@dataclass(frozen=True)
class Waiter:
    """One who waits for a job."""

    file: IO[str]

    def is_last(self) -> bool:
        """Whether nobody else waits for the same job."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def sweep(root: Path) -> None:
    """Remove what launchers that were killed left half removed, and entries that nobody asked for in 30 days."""
    limit = time.time() - 86400 * FORGET_DAYS
    for folder in (root / ".d2it" / "jobs").glob("*"):
        with contextlib.suppress(OSError):
            if ".gone-" in folder.name or folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)
