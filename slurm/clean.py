"""`python -m slurm clean`: what stages leave under `.d2it/`, with sizes and ages, and the removal of what is old."""

import argparse
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.root import find_root
from slurm.in_use import Jobs, hold
from slurm.ledger import FORGET_DAYS, entry_of

DAYS = 7
_ABOUT = """Lists what stages have left under .d2it/, with sizes and ages: per run (a stage with one key) its job, its
scratch folder with checkpoints, its result until DVC has recorded it, its logs and locks; trunks, the checkpoints with
which a training of another length begins; and what killed commands have left half removed. What is in use, or may be,
is never removed, nor are MLflow's database and pictures, journals and weights."""
_FOLDERS = {"jobs": "job", "scratch": "scratch", "delivered": "result", "trunks": "trunk", "logs": "logs"}
_LOCKS = (".lock", ".waiters", ".runs")
_RUN = re.compile(r".+-[0-9a-f]{16}")
_GONE = ".gone-"  # in the name of a folder whose removal has begun, as in slurm/ledger.py


@dataclass(frozen=True)
class Part:
    """A folder; `size` is what its removal frees: files with other hard links, such as inputs, do not count."""

    kind: str
    path: Path
    size: int  # bytes
    changed: float  # seconds since 1970, of the newest file or folder in it


@dataclass(frozen=True)
class Left:
    """A run, or what a killed command has left."""

    name: str
    parts: tuple[Part, ...]
    locks: tuple[Path, ...]  # all that guard it, existing or not
    is_run: bool = False

    @property
    def size(self) -> int:
        """Bytes that its removal frees."""
        return sum(part.size for part in self.parts)

    @property
    def age(self) -> float:
        """Days since anything of it changed; of a run without folders, since its locks were made."""
        times = [part.changed for part in self.parts] or [_changed(lock) for lock in self.locks]
        return max(0.0, time.time() - max(times)) / 86400

    def describe(self) -> str:
        """Its name and what it consists of."""
        what = [f"{part.kind} {human(part.size)}" for part in self.parts]
        what += ["locks"] if self.is_run and any(lock.exists() for lock in self.locks) else []
        return f"{self.name}: {', '.join(what)}"


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0.

    Raises:
        StageError: the current folder is in no repository.
    """
    parser = argparse.ArgumentParser("python -m slurm clean", None, _ABOUT)
    parser.add_argument("--yes", action="store_true", help="remove what is listed as removable")
    ages = f"age from which it is removable ({DAYS}; results that nobody took: {FORGET_DAYS:.0f}); 0: all"
    parser.add_argument("--days", type=_days, default=DAYS, metavar="N", help=ages)
    given = parser.parse_args(arguments)
    root, freed = find_root(), 0
    everything = survey(root)
    removable, notes = _judge(root, everything, given.days)
    for left in sorted(everything, key=lambda one: (one in removable, -one.size, one.name)):
        line = f"{human(left.size):>8} {left.age:6.1f} days  {left.describe()}"
        verdict, note = ("removable" if left in removable else "kept"), notes.get(left.name, "")
        if given.yes and left in removable:
            failure = remove(root, left)
            verdict, note = ("kept", failure) if failure else ("removed", note)
            freed += 0 if failure else left.size
        print(f"{verdict:<9} {line}{f': {note}' if note else ''}", flush=True)
    _summarize(root, everything, removable)
    if given.yes:
        print(f"removed: {human(freed)}")
    elif removable:
        days = f" --days {given.days}" if given.days != DAYS else ""
        print(f"remove what is removable: python -m slurm clean{days} --yes")
    else:
        print(f"nothing to remove that is {given.days} days old and not in use; --days N sets another age")
    return 0


def _days(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of days, at least 0")
    return int(text)


def survey(root: Path) -> list[Left]:
    """All that stages have left under `.d2it/` of `root`, and that may be removed once it is old and not in use."""
    base = root / ".d2it"
    folders = [path for folder in _FOLDERS for path in sorted((base / folder).glob("*")) if _is_folder(path)]
    doctors = [path for path in sorted(base.glob("doctor-*")) if _is_folder(path)]
    names = {path.name for path in folders}
    names |= {path.stem for path in (base / "locks").glob("*") if path.suffix in _LOCKS}
    runs = [look(root, name) for name in sorted(names) if _RUN.fullmatch(name)]
    gone = [path for path in (*folders, *doctors) if _GONE in path.name]
    asked = [path for path in doctors if _GONE not in path.name]
    return [
        *runs,
        *(Left(path.name, (_part("half removed", path),), ()) for path in gone),
        *(Left(path.name, (_part("doctor", path),), tuple(path.glob("lock"))) for path in asked),
    ]


def look(root: Path, name: str) -> Left:
    """The run `name`, as it is now."""
    base = root / ".d2it"
    paths = {kind: base / folder / name for folder, kind in _FOLDERS.items()}
    parts = tuple(_part(kind, path) for kind, path in paths.items() if _is_folder(path))
    return Left(name, parts, tuple(base / "locks" / f"{name}{suffix}" for suffix in _LOCKS), is_run=True)


def _judge(root: Path, everything: Iterable[Left], days: int) -> tuple[list[Left], dict[str, str]]:
    """What can be removed, and notes by name; of all that is kept, why."""
    removable, notes, free = [], {}, []
    for left in everything:  # before SLURM is asked: a launcher that has gone since then has left a record
        with hold(left.locks, make=False) as all_free:
            if all_free:
                free.append(left)
            else:
                notes[left.name] = "a launcher or its stage holds a lock of it"
    jobs = Jobs(root)
    for left in free:
        undelivered = left.is_run and entry_of(root, left.name).files.ended() == 0
        if left.is_run and (why := jobs.why_in_use(left.name)):
            notes[left.name] = why
            continue
        if undelivered:
            notes[left.name] = "has ended well and was not delivered: asked for again, the stage takes its result"
        least = max(days, FORGET_DAYS) if undelivered and days else days
        if _GONE in left.name or left.age >= least:
            removable.append(left)
        elif not undelivered:
            notes[left.name] = f"younger than {days} days"
    return removable, notes


def remove(root: Path, left: Left) -> str:
    """Remove it, unless it is in use by now; returns why it could not be, empty if all is gone."""
    try:
        with hold(left.locks, make=True) as free:
            if not free or (left.is_run and look(root, left.name).parts != left.parts):
                return "has come into use"
            gone = [_aside(part.path) for part in left.parts]
            for lock in left.locks:
                lock.unlink(missing_ok=True)
        for path in gone:  # without the locks: it can take long, and nobody needs to wait for it
            with suppress(FileNotFoundError):  # launchers remove half-removed entries too
                shutil.rmtree(path)
    except OSError as error:
        return f"cannot be removed: {error}"
    return ""


def _aside(path: Path) -> Path:
    """Never half a folder under its name, even if this process is killed."""
    return path if _GONE in path.name else path.rename(path.with_name(f"{path.name}{_GONE}{time.time_ns()}"))


def _summarize(root: Path, everything: Iterable[Left], removable: Iterable[Left]) -> None:
    """Print what is not listed, and totals."""
    base = root / ".d2it"
    listed = {*_FOLDERS, "locks", *(left.name for left in everything)}
    others = sorted(path for path in base.glob("*") if path.name not in listed)
    sizes = {path.name: size for path in others if (size := _part("", path).size)}
    if sizes:
        print("stays:", ", ".join(f"{name} {human(size)}" for name, size in sizes.items()))
    for title, those in {"in all": everything, "removable": removable}.items():
        totals: dict[str, int] = {}
        for part in (part for left in those for part in left.parts):
            totals[part.kind] = totals.get(part.kind, 0) + part.size
        kinds = f" ({', '.join(f'{kind} {human(size)}' for kind, size in totals.items())})" if totals else ""
        print(f"{title}: {human(sum(totals.values()))}{kinds}")


def _is_folder(path: Path) -> bool:
    """A link is nothing that a stage has left."""
    return path.is_dir() and not path.is_symlink()


def _part(kind: str, path: Path) -> Part:
    size, changed = 0, 0.0
    for one in _inside(path):
        with suppress(FileNotFoundError):
            status = one.lstat()
            changed = max(changed, status.st_mtime)
            size += status.st_size if status.st_nlink == 1 and not one.is_dir() else 0
    return Part(kind, path, size, changed)


def _inside(path: Path) -> Iterator[Path]:
    """The file or folder itself, and all in it."""
    yield path
    for folder, folders, files in os.walk(path):
        yield from (Path(folder, name) for name in (*folders, *files))


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def human(size: float) -> str:
    """A number of bytes with its unit, powers of 1000: '27.0 GB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.95:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
