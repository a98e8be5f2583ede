"""The weights that a stage leaves, as MLflow's logged models: what they are and where DVC has them. No copy of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from d2it.files import UnreadableFileError, read_json
from d2it.nested import flatten
from pipeline.dag import Artifact, artifacts
from pipeline.key import content_md5
from tracking.experiment import WORKSPACE, as_text
from tracking.journal import Record
from tracking.store import Store, locked

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, LoggedModelOutput, Run

NOTE = (
    "{description}. MLflow holds no copy of the weights: DVC has them as `{path}`, md5 `{md5}`, and "
    "`dvc checkout {path}` brings them, at a commit whose dvc.lock names that md5{apply}."
)


def models_of(stage: str, outputs: Path = Path("outputs")) -> list[Record]:
    """Each file of weights of a stage that has ended: name, path, DVC's md5, and its architecture.

    Raises:
        OSError: a file cannot be read.
        StageError: dvc.yaml cannot be read.
    """
    folder, models = outputs / stage, []
    files = sorted(folder.glob("*.safetensors"))
    named = artifacts() if files else {}
    for path in files:
        known = named.get(path.as_posix(), Artifact(name=stage, description=stage))
        try:
            architecture = read_json(folder / "config.json").get("architecture", {})
        except UnreadableFileError:
            architecture = {}
        models.append({
            "name": known.name, "description": known.description, "path": path.as_posix(), "md5": content_md5(path),
            "params": {key: as_text(value) for key, value in flatten(architecture).items()},
        })  # fmt: skip
    return models


def log_models(store: Store, run_id: str, models: Iterable[Record], experiment: str) -> list[str]:
    """Make each a logged model of the run, once; returns their ids."""
    from mlflow.entities import LoggedModelStatus

    apply = "" if experiment == WORKSPACE else f", or after `dvc exp apply {experiment}`"
    with locked(store.root):
        known = {model.name: model for model in _models_of_run(store, run_id)}
        ids = []
        for one in models:
            model = known.get(one["name"]) or store.client.create_logged_model(
                store.experiment_id, one["name"], source_run_id=run_id, params=one["params"], model_type="weights",
                tags={
                    "dvc.path": one["path"], "dvc.md5": one["md5"], "dvc.experiment": experiment,
                    "mlflow.note.content": NOTE.format(**one, apply=apply),
                },
            )  # fmt: skip
            if model.status != LoggedModelStatus.READY:  # new, or its maker was killed here
                store.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            ids.append(model.model_id)
        add_outputs(store, run_id, ids)
    return ids


def add_outputs(store: Store, run_id: str, model_ids: Iterable[str]) -> None:
    """Show models as outputs of a run, each once; to be called under the store's lock: MLflow would add them again."""
    from mlflow.entities import LoggedModelOutput

    present = {output.model_id for output in outputs_of(store.client.get_run(run_id))}
    new = [LoggedModelOutput(model_id, 0) for model_id in model_ids if model_id not in present]
    if new:
        store.client.log_outputs(run_id, new)


def outputs_of(run: "Run") -> "list[LoggedModelOutput]":
    """The models that a run shows."""
    return list(run.outputs.model_outputs) if run.outputs else []


def log_model_numbers(
    store: Store, run_id: str, model_ids: Iterable[str], *, numbers: Mapping[str, float], time: int
) -> None:
    """Final numbers of a run on its models too, by the run's names; MLflow keeps equal points once."""
    from mlflow.entities import Metric

    for model_id in model_ids:
        metrics = [Metric(name, value, time, 0, model_id=model_id, run_id=run_id) for name, value in numbers.items()]
        store.client.log_batch(run_id, metrics=metrics)


def _models_of_run(store: Store, run_id: str) -> "list[LoggedModel]":
    return list(store.client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'"))
