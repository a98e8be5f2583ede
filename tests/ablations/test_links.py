"""Links to MLflow lead to runs that are there, and show no password."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ablations.links import Runs, find_runs, keep_comparison
from ablations.plan import plan
from ablations.tables import read_tables
from tools.deps import ROOT
from tracking.store import Store


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


def test_a_link_leads_to_the_parent_run_and_the_comparison_to_all_that_are_there(store: Store) -> None:
    chosen = plan(read_tables()["window"], ROOT, "demo", 1)
    names = [row.experiments[0].name for row in chosen.rows if row.label in ("8", "4", "2")]
    ids = [parent(store, name, name) for name in names[:2]]
    runs = find_runs(store.root, names)
    page = f"#/experiments/{store.experiment_id}/runs/{ids[0]}?workflowType=machine_learning"
    assert runs.address_of(names[0]) == f"http://127.0.0.1:5000/{page}"
    assert runs.address_of(names[2]) == ""
    address = keep_comparison(store.root, chosen, runs)
    key = parse_qs(urlsplit(address).fragment.partition("?")[2])["viewStateShareKey"][0]
    view = json.loads(store.client.get_experiment(store.experiment_id).tags[f"mlflow.sharedViewState.{key}"])
    assert {run.info.run_id for run in store.client.search_runs([store.experiment_id], view["searchFilter"])} == set(
        ids
    )
    assert view["compareRunCharts"][0]["selectedParams"] == ["refinenet.window"]
    assert view["compareRunCharts"][0]["selectedMetrics"] == ["fid.fd_efficientnet_lite0"]
    assert keep_comparison(store.root, chosen, find_runs(store.root, names[:1])) == ""


def test_runs_of_older_code_are_compared_and_an_mlflow_that_keeps_no_view_costs_the_link_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = plan(read_tables()["window"], ROOT, "demo", 1)
    names = [row.experiments[0].name for row in chosen.rows if row.label in ("8", "4")]
    older = [name.rpartition("-")[0] + "-0000" for name in names]
    for name in older:
        parent(store, name, name)
    runs = find_runs(store.root, older)
    assert "viewStateShareKey=window-demo" in keep_comparison(store.root, chosen, runs)
    others = [f"other-{n}-0000000{n}-0000" for n in range(2)]
    assert (
        keep_comparison(
            store.root, chosen, Runs(address=runs.address, experiment=runs.experiment, ids=dict.fromkeys(others, "x"))
        )
        == ""
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    assert keep_comparison(store.root, chosen, runs) == ""


def test_an_mlflow_that_was_never_used_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_runs(tmp_path, ["a"]).trouble
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_costs_links_only_and_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    runs = find_runs(tmp_path, ["a"])
    assert runs == Runs(address="http://127.0.0.1:9", trouble=runs.trouble)
    assert "MLflow" in runs.trouble
    assert "hunter2" not in runs.trouble
