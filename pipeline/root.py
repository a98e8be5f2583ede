"""The repository's real root, where `.d2it/` lives, also for a stage that runs in a temporary copy of the workspace."""

import os
from pathlib import Path

from pipeline.errors import StageError


def find_root() -> Path:
    """Absolute path of the repository's root.

    DVC sets DVC_ROOT for a stage to the original repository, also in the temporary copies in which
    `dvc exp run --temp` and `--queue` work, and which it deletes afterwards. Without DVC it is the nearest folder
    that holds dvc.yaml, from the current one upwards.

    Raises:
        StageError: neither is there.
    """
    given = os.environ.get("DVC_ROOT")
    if given:
        root = Path(given).resolve()
        if not root.is_dir():
            raise StageError(f"DVC_ROOT = {given!r}: no such folder")
        return root
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise StageError(f"{here}: no dvc.yaml here or above; run from the repository")
