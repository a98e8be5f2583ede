"""Results that were delivered, kept until DVC has recorded them: it may be ended between the two, and ask once more.

`.d2it/delivered/<stage>-<key>/` is what is left of the ledger's entry: the stage's outputs, in most cases hard links to
those of a workspace. It goes once a workspace's dvc.lock records the stage with this key, or after seven days.
"""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from d2it.params.load import load_params
from d2it.yaml import read_yaml
from pipeline.errors import StageError
from pipeline.key import recorded_key
from slurm.frozen import deliver_outputs, link
from slurm.ledger import Entry, entry_of

FORGET_DAYS = 7.0  # for experiments, whose last stage is recorded in a copy of the workspace that is gone by then


def keep(entry: Entry) -> None:
    """Move the outputs of an entry whose job has ended out of the ledger; hold the entry's lock."""
    _remove(entry.delivered)
    entry.delivered.parent.mkdir(parents=True, exist_ok=True)
    entry.folder.rename(entry.delivered)
    for path in (*entry.delivered.iterdir(), *(entry.delivered / "tree").iterdir()):
        if path.name not in ("tree", "outputs"):
            _remove(path)
    for path in (entry.delivered / "tree" / "outputs").iterdir():
        if path.name != entry.stage:
            _remove(path)  # an input


def keep_workspace(entry: Entry) -> None:
    """Link the outputs of a stage that has run in the current folder itself, instead of in a job's tree."""
    with entry.lock():
        part = entry.delivered.with_name(f"{entry.name}.part")
        _remove(part)
        link(Path("outputs", entry.stage), part / "tree" / "outputs" / entry.stage)
        _remove(entry.delivered)
        part.rename(entry.delivered)


def take(entry: Entry) -> bool:
    """Put a result that DVC asks for once more into the current folder, the workspace; hold the entry's lock.

    Returns:
        Whether there was one.
    """
    if not (entry.delivered / "tree" / "outputs" / entry.stage).is_dir():
        return False
    line = "has ended well, but DVC has no record of it: taking its result; to run it anew, remove"
    print(f"{entry.stage}: {line} {entry.delivered}", flush=True)
    deliver_outputs(entry.delivered / "tree", Path.cwd(), entry.stage)
    entry.clear_scratch()
    return True


def forget(root: Path) -> None:
    """Remove what the current folder's dvc.lock records, what is older than seven days, and halves."""
    kept = sorted((root / ".d2it" / "delivered").glob("*"))
    limit, recorded = time.time() - 86400 * FORGET_DAYS, _recorded(root) if kept else set()
    for folder in kept:
        entry = entry_of(root, folder.name.partition(".")[0])
        with suppress(OSError, StageError), entry.lock(seconds=0):  # not while another launcher takes it
            if folder != entry.delivered or folder.stat().st_mtime < limit or entry.name in recorded:
                _remove(folder)


def _recorded(root: Path) -> set[str]:
    """Names of the runs that dvc.lock records."""
    try:
        stages = (read_yaml(Path("dvc.lock").read_text(encoding="utf-8")) or {}).get("stages", {})
    except FileNotFoundError:
        return set()
    values, names = load_params().model_dump(mode="json"), set()
    for name, entry in stages.items():
        with suppress(StageError, KeyError):  # recorded by another version, with other params
            names.add(Entry(root, name, recorded_key(name, entry, values)).name)
    return names


def _remove(path: Path) -> None:
    """Whatever there is: never half a result under its name, even if this process is killed here."""
    with suppress(FileNotFoundError):
        gone = path.rename(path.with_name(f"{path.name}.gone-{time.time_ns()}"))
        shutil.rmtree(gone, ignore_errors=True)
        if not gone.is_dir():
            gone.unlink(missing_ok=True)
