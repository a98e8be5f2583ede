"""Links to MLflow lead to runs that are there, and show no password."""

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from ablations.links import Runs, find_runs
from stages.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store.connect(tmp_path)


def parent(store: Store, name: str, identity: str) -> str:
    tags = {"dvc.experiment": name}
    record = {"identity": identity, "name": name, "params": {}, "tags": tags}
    run = store.parent(record)
    child = tags | {"mlflow.parentRunId": run.info.run_id}
    store.client.create_run(store.experiment_id, run_name="fid", tags=child)
    return str(run.info.run_id)


def test_a_link_leads_to_the_parent_run_and_the_comparison_to_all(store: Store) -> None:
    ids = [parent(store, "window-8", "1"), parent(store, "window-4", "2")]
    runs = find_runs(store.root, ["window-8", "window-4", "window-2"])
    assert runs.run("window-8") == f"http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs/{ids[0]}"
    assert runs.run("window-2") == ""
    query = parse_qs(runs.compare(["window-8", "window-4", "window-2"]).partition("#/compare-runs?")[2])
    assert json.loads(query["runs"][0]) == ids
    assert json.loads(query["experiments"][0]) == [store.experiment_id]
    assert runs.compare(["window-8"]) == ""


def test_an_mlflow_that_was_never_used_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_runs(tmp_path, ["a"]).trouble
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_costs_links_only_and_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    runs = find_runs(tmp_path, ["a"])
    assert runs == Runs("http://127.0.0.1:9", trouble=runs.trouble)
    assert "MLflow" in runs.trouble
    assert "hunter2" not in runs.trouble
