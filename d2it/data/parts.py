"""Finished parts of long work, kept in a folder: work that was cut off goes on with what is missing."""

import hashlib
from pathlib import Path

from d2it.data.arrays import Arrays, pack, unpack
from d2it.files import replacing

_DIGEST = hashlib.sha256().digest_size


class DamagedPartError(RuntimeError):
    """A part's content is not what was written."""


class Parts:
    """Numbered parts, one file each: its content's SHA-256, then the content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, number: int, arrays: Arrays) -> None:
        """Write part `number`, all at once."""
        content = pack(arrays)
        with replacing(self.path(number)) as part:
            part.write_bytes(hashlib.sha256(content).digest() + content)

    def has(self, number: int) -> bool:
        """Whether part `number` is there, and whole."""
        try:
            self.load(number)
        except (FileNotFoundError, DamagedPartError):
            return False
        return True

    def load(self, number: int) -> Arrays:
        """Part `number`.

        Raises:
            FileNotFoundError: there is none.
            DamagedPartError: its content is not what was written.
        """
        kept = self.path(number).read_bytes()
        digest, content = kept[:_DIGEST], kept[_DIGEST:]
        if hashlib.sha256(content).digest() != digest:
            raise DamagedPartError(f"{self.path(number)}: not what was written: damaged")
        return unpack(content)

    def path(self, number: int) -> Path:
        """Where part `number` is."""
        return self.folder / f"part-{number:06d}"
