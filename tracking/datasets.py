"""The prepared images as MLflow's datasets: the training and the held-out ones, known by the data's fingerprint."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from d2it.data.description import read_description
from d2it.files import UnreadableFileError
from d2it.params.sections import DataParams
from pipeline.dag import definitions
from tracking.journal import Record
from tracking.store import Store, locked

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXT = "mlflow.data.context"
DIGEST = 16  # hex digits of the fingerprint; MLflow takes 36 at most
READ = {  # what a stage reads or writes of each half
    "training": {"outputs/prepare/train", "outputs/encode_latents/train"},
    "eval": {"outputs/prepare/validation"},
}


def datasets_of(stage: str, data: DataParams, outputs: Path = Path("outputs")) -> list[Record]:
    """The halves of the prepared images that a stage works on, by dvc.yaml; none before `prepare` has run."""
    try:
        described = read_description(outputs / "prepare")
    except UnreadableFileError:
        return []
    known = definitions()
    if not described.fingerprint or stage not in known:
        return []
    paths = {*known[stage].deps, *known[stage].outs}
    name = Path(data.source).stem or data.source
    counts = {"training": (f"{name} train", described.train), "eval": (f"{name} validation", described.validation)}
    return [
        {
            "name": counts[context][0], "digest": described.fingerprint[:DIGEST], "source": data.source,
            "context": context,
            "profile": {"images": counts[context][1], "classes": len(described.classes),
                        "image_size": described.image_size.plain, "fingerprint": described.fingerprint},
        }
        for context, parts in READ.items() if paths & parts
    ]  # fmt: skip


def log_datasets(store: Store, run_ids: Iterable[str], datasets: Sequence[Record]) -> None:
    """Make them inputs of runs; those that are inputs already stay as they are."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(
                one["name"], one["digest"], "local", json.dumps({"uri": one["source"]}),
                profile=json.dumps(one["profile"]),
            ),
            [InputTag(CONTEXT, one["context"])],
        )
        for one in datasets
    ]  # fmt: skip
    for run_id in run_ids:
        log_inputs(store, run_id, inputs)


def log_inputs(store: Store, run_id: str, inputs: "Sequence[DatasetInput]") -> None:
    """Once each: MLflow knows a dataset by name and digest, but two processes at once would make it twice."""
    if inputs:
        with locked(store.root):
            store.client.log_inputs(run_id, datasets=list(inputs))
