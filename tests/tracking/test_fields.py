"""MLflow's own fields: who, from what, on which data, with which models. Sent twice or killed in between: once each."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

from d2it.params.sections import Params
from tests.tracking.mlflow_store import pending, pictures, runs, tracker
from tests.tracking.pipeline_of_three import FINGERPRINT, lay_out, run_stage
from tracking.__main__ import main
from tracking.journal import folder
from tracking.store import Store
from tracking.tracker import sync

DATASETS = [("twemoji train", FINGERPRINT[:16], "training"), ("twemoji validation", FINGERPRINT[:16], "eval")]


def _datasets(run: Run) -> list[tuple[str, str, str]]:
    return sorted((one.dataset.name, one.dataset.digest, one.tags[0].value) for one in run.inputs.dataset_inputs)


def _models(root: Path, run: Run) -> list[LoggedModel]:
    store = Store.connect(root)
    return [store.client.get_logged_model(output.model_id) for output in run.outputs.model_outputs]


def _all_models(root: Path) -> list[LoggedModel]:
    store = Store.connect(root)
    return list(store.client.search_logged_models([store.experiment_id]))


def _away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def _run_while_away(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages, of which nothing reaches MLflow; it is back afterwards."""
    lay_out(root)
    _away(monkeypatch)
    for stage in ("train_dvae", "sample"):
        run_stage(root, params, stage)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_a_run_says_who_began_it_and_from_which_file_and_commit(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D2IT_GIT_COMMIT", "c0ffee")
    for user in ("ada", "grace"):
        monkeypatch.setattr(getpass, "getuser", lambda user=user: user)
        with tracker(root, params):
            pass
    (parent,), children = runs(root), runs(root, "train_dvae")
    assert [run.data.tags["mlflow.user"] for run in (parent, *children)] == ["ada", "ada", "grace"]
    assert [run.data.tags["mlflow.source.name"] for run in (parent, children[0])] == [
        "dvc.yaml",
        "stages/train_dvae.py",
    ]
    assert {run.data.tags["mlflow.source.git.commit"] for run in (parent, *children)} == {"c0ffee"}
    assert {run.data.tags["mlflow.source.type"] for run in (parent, *children)} == {"LOCAL"}


def test_runs_name_the_data_that_their_stage_works_on_and_the_parent_names_all(root: Path, params: Params) -> None:
    lay_out(root)
    for stage in ("prepare", "train_dvae"):
        run_stage(root, params, stage)
    (parent,), (prepare,), (trained,) = runs(root), runs(root, "prepare"), runs(root, "train_dvae")
    assert _datasets(parent) == _datasets(prepare) == DATASETS
    assert _datasets(trained) == DATASETS[:1]
    dataset = trained.inputs.dataset_inputs[0].dataset
    assert '"uri": "twemoji"' in dataset.source
    assert FINGERPRINT in dataset.profile
    assert '"images": 1518' in dataset.profile


def test_weights_are_a_logged_model_with_dvcs_md5_their_architecture_and_numbers_but_no_copy(
    root: Path, params: Params
) -> None:
    lay_out(root)
    run_stage(root, params, "train_dvae")
    (parent,), (run,) = runs(root), runs(root, "train_dvae")
    (model,) = _models(root, run)
    assert [one.model_id for one in _models(root, parent)] == [model.model_id]
    assert (model.name, model.source_run_id, model.status) == ("dvae", run.info.run_id, "READY")
    assert model.tags["dvc.md5"] == run.data.tags["dvc.md5.weights.safetensors"] == "63f4f1e9b725370f459720575cd5f953"
    assert model.params == {"channels": "16", "factors": "[8, 16]"}
    assert "no copy" in model.tags["mlflow.note.content"]
    assert [(metric.key, metric.value) for metric in model.metrics or ()] == [("train_dvae.psnr", 19.84)]
    assert not list((root / ".d2it" / "mlartifacts").rglob("*.safetensors"))


def test_what_is_sent_twice_after_the_server_was_away_is_there_once(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_while_away(root, params, monkeypatch)
    kept = {path: path.read_bytes() for path in folder(root).glob("*.jsonl")}
    assert len(kept) == 2
    assert main(["sync"]) == 0
    for path, content in kept.items():
        path.write_bytes(content)  # as if the machine had died between sending and deleting
    assert sync(root) == 2
    _assert_once(root)


def test_a_process_killed_after_any_of_mlflows_calls_leaves_nothing_twice_and_nothing_out(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_while_away(root, params, monkeypatch)
    calls = ("log_inputs", "create_logged_model", "finalize_logged_model", "log_outputs", "log_artifact", "log_batch")
    for name in calls:
        monkeypatch.setattr(MlflowClient, name, _killed_once(getattr(MlflowClient, name)))
    tries = 1
    while main(["sync"]) == 1:
        tries += 1
        assert tries < 10
    assert tries >= len(calls) // 2  # two journals: a pass can meet two of them
    _assert_once(root)


def _killed_once(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call that does its work and then, the first time, ends as if the process ended."""
    times = []

    def killed(self: MlflowClient, *arguments: Any, **named: Any) -> Any:
        result = call(self, *arguments, **named)
        times.append(1)
        if len(times) == 1:
            raise OSError(f"killed after {call.__name__}")
        return result

    return killed


def _assert_once(root: Path) -> None:
    (parent,), (trained,), (drawn,) = runs(root), runs(root, "train_dvae"), runs(root, "sample")
    assert pending(root) == []
    assert _datasets(parent) == _datasets(trained) == DATASETS[:1]
    assert [model.name for model in _all_models(root)] == ["dvae"]
    assert len(parent.outputs.model_outputs) == len(trained.outputs.model_outputs) == 1
    (copy,) = pictures(root, parent)
    assert copy in pictures(root, drawn)
    assert parent.data.tags["mlflow.note.content"].startswith("![samples](get-artifact?path=images%2Fpictures~samples")
    assert {run.info.status for run in (parent, trained, drawn)} == {"FINISHED"}
