"""A store whose repository was moved, and one that is deleted while a stage runs."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run

from d2it.params.sections import Params
from tests.tracking.mlflow_store import curve, pending, pictures, runs, tracker
from tools.deps import ROOT
from tracking.database import artifacts, make
from tracking.store import Store
from tracking.tracker import sync

_STAGE = """
import sys
from pathlib import Path
import numpy as np
from d2it.params.load import load_params
from tracking.tracker import Tracker
with Tracker.open(stage=sys.argv[1], key="a" * 64, params=load_params(Path(sys.argv[2])), root=Path.cwd()) as tracker:
    tracker.report(1, {"loss": 1.0}, {"grid": np.zeros((8, 8, 3), np.uint8)})
"""


def _stage(root: Path, name: str) -> str:
    """Run a stage of one point and one picture in a process of its own; returns what it printed."""
    command = [sys.executable, "-c", _STAGE, name, str(ROOT / "params.yaml")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout + done.stderr


def _size(root: Path, stage: str) -> int:
    """Of the one picture of a stage, downloaded."""
    (run,) = runs(root, stage)
    (picture,) = pictures(root, run)
    return Path(Store.connect(root).client.download_artifacts(run.info.run_id, picture)).stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repository", "a moved repository, 50 % ü"])
def test_a_repository_that_was_moved_takes_its_pictures_along_and_says_so_once(root: Path, name: str) -> None:
    old, new = root / "old place" / "repository", root / "new" / name
    (old / ".d2it").mkdir(parents=True)
    (root / ".d2it" / "mlflow.db").rename(old / ".d2it" / "mlflow.db")
    (old / "dvc.yaml").write_text("stages: {}\n")
    assert _stage(old, "train_dvae") == ""
    new.parent.mkdir()
    old.rename(new)
    (line,) = _stage(new, "sample").splitlines()
    assert line.startswith(f"tracking: pictures of 2 runs were looked for in {old.as_uri()}/.d2it/mlartifacts")
    assert _stage(new, "fid") == ""
    assert not old.exists()
    assert [_size(new, stage) > 50 for stage in ("train_dvae", "sample", "fid")] == [True] * 3
    assert len(list((new / ".d2it" / "mlartifacts").rglob("*.png"))) == 3


def test_a_folder_that_a_user_chose_and_a_store_of_several_repositories_stay(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.connect(root)
    _locate(root, store, "s3://bucket/folder")
    assert _location(Store.connect(root)) == "s3://bucket/folder"
    _locate(root, store, artifacts(root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/.d2it/mlflow.db")
    assert _location(Store.connect(tmp_path_factory.mktemp("other"))) == artifacts(root)


def _locate(root: Path, store: Store, place: str) -> None:
    with sqlite3.connect(root / ".d2it" / "mlflow.db") as database:
        database.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'd2it'", (place,))
    database.close()


def _location(store: Store) -> str:
    return str(store.client.get_experiment(store.experiment_id).artifact_location)


@pytest.mark.parametrize("left", [None, b""])  # nothing, or what another process makes when it opens the deleted one
def test_a_database_deleted_while_a_stage_runs_is_made_again_with_all_of_its_run(
    root: Path, params: Params, left: bytes | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tracking.tracker.INTERVAL", 0.2)
    database = root / ".d2it" / "mlflow.db"
    with tracker(root, params) as run_:
        run_.report(1, {"loss": 1.0})
        deadline = time.monotonic() + 60
        while not any(curve(root, run) for run in runs(root, "train_dvae")):
            assert time.monotonic() < deadline
        for again in (2, 3):  # twice: MLflow keeps connections to databases by their names
            database.unlink()
            if left is not None:
                database.write_bytes(left)
            run_.report(again, {"loss": float(again)}, {"grid": np.zeros((8, 8, 3), np.uint8)})
            while not any(len(curve(root, run)) == again for run in _known(root)):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        run_.finish({"psnr": 20.0})
    (run,), (parent,) = runs(root, "train_dvae"), runs(root)
    assert curve(root, run) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert parent.data.metrics["train_dvae.psnr"] == 20.0
    assert run.info.status == "FINISHED"
    assert pending(root) == []
    assert sync(root) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert "database was deleted" in line


def _known(root: Path) -> list[Run]:
    """Runs of the database, once there is one; only the stage may make it."""
    database = root / ".d2it" / "mlflow.db"
    return runs(root, "train_dvae") if database.exists() and database.stat().st_size else []


def test_what_sqlite_kept_for_a_deleted_database_is_not_played_into_the_new_one(root: Path) -> None:
    database = root / ".d2it" / "mlflow.db"
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM experiments")
    writer.execute("PRAGMA cache_spill = 1")
    journal = database.with_name("mlflow.db-journal")
    left = journal.read_bytes()
    writer.execute("ROLLBACK")
    writer.close()
    database.unlink()
    journal.write_bytes(left)
    make(database)
    assert not journal.exists()
    assert Store.connect(root).newest("attributes.status = 'FINISHED'") is None
