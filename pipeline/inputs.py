"""Inputs that a disk or a hand has changed behind DVC's back end a stage before it computes with them."""

from pathlib import Path

from pipeline.dag import definition
from pipeline.errors import StageError
from pipeline.key import content_md5, recorded_outputs


def verify_inputs(name: str) -> None:
    """Compare all that stage `name` reads of earlier stages with what dvc.lock records; reads all of it.

    DVC itself trusts a file whose size and times are as they were.

    Raises:
        StageError: an input is another one, or missing.
    """
    recorded = recorded_outputs(Path("dvc.lock"))
    for path in definition(name).deps:
        if path in recorded and _md5(path) != recorded[path]:
            raise StageError(
                f"{path}: is not what dvc.lock records (md5 {recorded[path]}): damaged, or edited; "
                f"remove it, and `dvc checkout {path}` or `dvc repro` makes it anew"
            )


def _md5(path: str) -> str | None:
    try:
        return content_md5(Path(path))
    except FileNotFoundError:
        return None
