"""The ledger: which stage has a job, so that a second launcher of the same stage waits for it instead of submitting.

An entry is a folder `.d2it/jobs/<stage>-<key>/` at the repository's real root, also for an experiment that runs in a
temporary copy. The key is a hash of the stage's params, code and inputs (pipeline/key.py): different stages never share
an entry, equal stages of different experiments do. An entry exists until its result is delivered.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2it.files import UnreadableFileError, read_json, write_text
from pipeline.lock import SharedLock, locked, shared
from slurm.job import Files

LOCK_SECONDS = 600.0  # another launcher may be copying a large result
FORGET_DAYS = 30.0  # until an entry is removed for which no launcher has come back
TRUNK_DAYS = 7.0  # until the checkpoint goes that a training has left for longer ones


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
        """The entry."""
        return self.root / ".d2it" / "jobs" / self.name

    @property
    def tree(self) -> Path:
        """The job's own workspace: frozen code, params and inputs; then its outputs."""
        return self.folder / "tree"

    @property
    def scratch(self) -> Path:
        """The stage's checkpoints, until its result is delivered."""
        return self.root / ".d2it" / "scratch" / self.name

    @property
    def files(self) -> Files:
        """The job's files for its launchers; the logs outlive the entry."""
        return Files(self.folder, self.root / ".d2it" / "logs" / self.name)

    @property
    def delivered(self) -> Path:
        """The result once all launchers have it; slurm/delivered.py."""
        return self.root / ".d2it" / "delivered" / self.name

    @contextmanager
    def lock(self, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold while looking up the job, submitting it or delivering its result: one launcher at a time.

        Raises:
            StageError: another launcher holds it for so many seconds.
        """
        path = self.root / ".d2it" / "locks" / f"{self.name}.lock"
        refusal = (
            f"{self.stage}: {path} has been held by another launcher for {seconds:.0f} s: end it; if its machine "
            "is dead and the file server keeps its lock, remove the file"
        )
        with locked(path, seconds=seconds, refusal=refusal):
            yield

    @contextmanager
    def waiting(self) -> Iterator[SharedLock]:
        """Count as one of the launchers that wait for this job; the last one is the only one."""
        with shared(self.root / ".d2it" / "locks" / f"{self.name}.waiters") as lock:
            yield lock

    def record(self, job: dict[str, Any]) -> None:
        """Store the submitted job."""
        submitted = job | {"submitted": time.strftime("%Y-%m-%d %H:%M:%S")}
        write_text(self.files.submitted, json.dumps(submitted))

    def recall(self) -> dict[str, Any] | None:
        """What `record` stored, None if there is nothing."""
        with contextlib.suppress(UnreadableFileError):
            return read_json(self.files.submitted)
        return None

    def clear_scratch(self) -> None:
        """Remove the checkpoints."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def clear(self) -> None:
        """Remove all of the job but its logs and checkpoints."""
        if self.folder.exists():
            gone = self.folder.with_name(f"{self.name}.gone-{time.time_ns()}")
            self.folder.rename(gone)  # never half an entry, even if this process is killed here
            shutil.rmtree(gone, ignore_errors=True)


def entry_of(root: Path, name: str) -> Entry:
    """The entry of the run `name`, whether or not it exists."""
    stage, _, key = name.rpartition("-")
    return Entry(root, stage, key)


def sweep(root: Path) -> None:
    """Remove entries left half removed by a kill or older than 30 days, and trunks older than 7."""
    for pattern, days in (("jobs/*", FORGET_DAYS), ("trunks/*/*", TRUNK_DAYS)):
        limit = time.time() - 86400 * days
        for folder in (root / ".d2it").glob(pattern):
            with contextlib.suppress(OSError):
                if ".gone-" in folder.name or folder.stat().st_mtime < limit:
                    shutil.rmtree(folder, ignore_errors=True)
    for folder in (root / ".d2it").glob("trunks/*"):
        with contextlib.suppress(OSError):
            folder.rmdir()  # where it is empty
