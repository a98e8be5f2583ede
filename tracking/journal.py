"""The journal of a stage's run: each point is on disk before anything is sent, one line of JSON per record.

A journal is an outbox, `.d2it/journal/<run>.jsonl` with a folder of pictures beside it. It exists until its run has
ended and MLflow holds all of it. The process that holds its lock may append and send; the lock ends with the process,
so a journal that can be locked has no living writer. The lock is on the journal itself and never waited for, which is
why pipeline/lock.py does not serve here.

Records are flat objects with `kind` and `time` (ms since 1970); the first one, `kind: run`, identifies the run.
"""

import fcntl
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Record = dict[str, Any]


def folder(root: Path) -> Path:
    """Where the journals of the repository at `root` are."""
    return root / ".d2it" / "journal"


def now() -> int:
    """Time as MLflow counts it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Journal:
    """An open, locked journal. Appending is safe from several threads."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._appending = threading.Lock()

    @classmethod
    def open(cls, root: Path, prefix: str, header: Record) -> "Journal":
        """Continue the unfinished journal of `prefix` that a dead process left, or start one with `header`.

        Raises:
            OSError: the folder cannot be written.
        """
        for path in sorted(folder(root).glob(f"{prefix}-*.jsonl")):
            journal = cls.adopt(path)
            if journal and journal.status() != "FINISHED":
                return journal
            if journal:
                journal.close()
        folder(root).mkdir(parents=True, exist_ok=True)
        path = folder(root) / f"{prefix}-{secrets.token_hex(4)}.jsonl"
        # Under its final name only when locked and with a header, so that no other process adopts it too early.
        new = path.with_suffix(".new")
        journal = cls(path, os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644))
        fcntl.flock(journal._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        journal.append("run", header)
        new.rename(path)
        return journal

    @classmethod
    def adopt(cls, path: Path) -> "Journal | None":
        """Lock an existing journal; None if its writer is alive, or it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return None
        journal = cls(path, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            still_there = path.stat().st_ino == os.fstat(descriptor).st_ino
        except (BlockingIOError, FileNotFoundError):
            still_there = False
        if not still_there:
            journal.close()
            return None
        journal._cut_torn_tail()
        return journal

    @property
    def name(self) -> str:
        """Unique name of this journal."""
        return self.path.stem

    @property
    def pictures(self) -> Path:
        """Folder of the pictures that are not sent yet."""
        return self.path.with_suffix("")

    def append(self, kind: str, record: Record) -> None:
        """Write one record, whole or not at all.

        Raises:
            OSError: the disk is full.
        """
        line = json.dumps({"kind": kind, "time": now()} | record).encode() + b"\n"
        with self._appending:
            size = os.fstat(self._descriptor).st_size
            if os.write(self._descriptor, line) != len(line):
                os.ftruncate(self._descriptor, size)
                raise OSError(f"{self.path}: no space for {len(line)} bytes")

    def append_picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Keep a picture, uint8 (H, W, 3), until it is sent.

        Raises:
            OSError: the disk is full.
        """
        name = clean(name)
        file = f"{name.replace('/', '~')}-{step}.npy"
        self.pictures.mkdir(exist_ok=True)
        np.save(self.pictures / file, picture, allow_pickle=False)
        self.append("picture", {"step": step, "name": name, "file": file})

    def read(self, offset: int = 0) -> tuple[list[Record], int]:
        """Records from byte `offset` on, and the offset after them."""
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        return [record for line in whole.splitlines() if (record := _parse(line))], offset + len(whole)

    def status(self) -> str | None:
        """How the run ended, as a status of MLflow; None while it has not."""
        last = None
        for record in self.read()[0]:
            if record["kind"] in ("start", "end"):
                last = record.get("status")
        return last

    def beat(self) -> None:
        """Show that the writer is alive, where locks do not reach (some network file systems)."""
        os.utime(self.path)

    def delete(self) -> None:
        """Remove the journal and what is left of its pictures."""
        for picture in self.pictures.glob("*.npy"):
            picture.unlink(missing_ok=True)
        if self.pictures.is_dir():
            self.pictures.rmdir()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)

    def _cut_torn_tail(self) -> None:
        content = self.path.read_bytes()
        os.ftruncate(self._descriptor, content.rfind(b"\n") + 1)


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:  # what a power cut can leave
        return None
    return record if isinstance(record, dict) else None


def clean(name: str) -> str:
    """A name of a curve or picture with the characters that MLflow allows."""
    return re.sub(r"[^A-Za-z0-9_./ -]", "_", name)


def left_behind(root: Path, host: str, silence: float = 300.0) -> Iterator[Journal]:
    """Lock, yield and release each journal whose writer is gone; a killed one is closed with status KILLED.

    A writer on another host that has written in the last `silence` seconds counts as alive even if its lock is free.
    """
    for path in sorted(folder(root).glob("*.jsonl")):
        journal = Journal.adopt(path)
        if journal is None:
            continue
        try:
            records, _ = journal.read()
            starts = [record for record in records if record["kind"] == "start"]
            if not starts:
                continue
            if journal.status() is None:
                if starts[-1]["host"] != host and time.time() - path.stat().st_mtime < silence:
                    continue
                journal.append("end", {"status": "KILLED", "time": records[-1]["time"]})
            yield journal
        finally:
            journal.close()
