"""The parent run, brought up to date with the runs of its stages: links, numbers, data, models, a picture, a note.

All that it shows can be read off its stages' runs, so it is made in the same way whether they ran for this experiment
or came from DVC's cache, and again changes nothing.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tracking.datasets import log_inputs
from tracking.models import add_outputs, outputs_of
from tracking.note import PICTURE, write_note
from tracking.store import Store, locked

if TYPE_CHECKING:
    from mlflow.entities import Run

SHOWN = "samples"  # the picture of the stage `sample` that is the result
FOLDER = "images"  # where MLflow keeps pictures that have a step
COMPLETE = "d2it.complete"  # tag: the hash of the stages' runs that a parent is up to date with


def link_stages(store: Store, parent_id: str, runs: Mapping[str, str]) -> None:
    """Link a parent to the runs, by stage: one tag per run, and a line of links in the description."""
    for stage, run_id in runs.items():
        store.client.set_tag(parent_id, f"stage.{stage}", run_id)
    write_note(store, parent_id)


def is_complete(parent: "Run") -> bool:
    """Whether a parent shows all that the runs to which it is linked have."""
    return parent.data.tags.get(COMPLETE) == _links_hash(parent)


def complete(store: Store, parent_id: str) -> None:
    """Show data, models, picture and numbers of the linked runs. Needs the artifacts, so it is to be the last step."""
    parent = store.client.get_run(parent_id)
    runs = {stage: store.client.get_run(run_id) for stage, run_id in _links(parent).items()}
    inputs = {
        (one.dataset.name, one.dataset.digest): one
        for run in runs.values() if run.inputs for one in run.inputs.dataset_inputs
    }  # fmt: skip
    log_inputs(store, parent_id, list(inputs.values()))
    with locked(store.root):
        add_outputs(store, parent_id, [model.model_id for run in runs.values() for model in outputs_of(run)])
    if "sample" in runs:
        _copy_picture(store, parent, runs["sample"].info.run_id)
    write_note(store, parent_id)
    store.client.set_tag(parent_id, COMPLETE, _links_hash(parent))


def _links(parent: "Run") -> dict[str, str]:
    tags = parent.data.tags
    return {tag.removeprefix("stage."): run_id for tag, run_id in tags.items() if tag.startswith("stage.")}


def _links_hash(parent: "Run") -> str:
    return hashlib.sha256(repr(sorted(_links(parent).items())).encode()).hexdigest()[:16]


def _copy_picture(store: Store, parent: "Run", run_id: str) -> None:
    """The newest picture of samples, under its own name, which is the same each time."""
    newest = _picture_files(store, run_id)
    if not newest or parent.data.tags.get(PICTURE) == newest[0]:
        return
    present = {file.path for file in store.client.list_artifacts(parent.info.run_id, FOLDER)}
    with TemporaryDirectory() as folder:
        for path in newest:
            if path not in present:
                local = store.client.download_artifacts(run_id, path, folder)
                store.client.log_artifact(parent.info.run_id, local, FOLDER)
    store.client.set_tag(parent.info.run_id, "mlflow.loggedImages", "True")
    store.client.set_tag(parent.info.run_id, PICTURE, newest[0])


def _picture_files(store: Store, run_id: str) -> list[str]:
    """The picture, and MLflow's small copy of it, which is written last; none if the run has none that is whole."""
    form = re.compile(rf"(?:.+~)?{SHOWN}\+step\+\d+\+timestamp\+(\d+)\+.*\.png")
    files = {str(file.path) for file in store.client.list_artifacts(run_id, FOLDER)}
    pairs = []
    for path in files:
        match, small = form.fullmatch(Path(path).name), f"{path.removesuffix('.png')}+compressed.webp"
        if match and small in files:
            pairs.append((int(match[1]), path, small))
    return list(max(pairs)[1:]) if pairs else []
