"""A store that is away, locked or killed; writers that are killed; many at once. Nothing is lost, nothing is twice."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from d2it.params.sections import Params
from tests.tracking.mlflow_store import curve, pending, pictures, runs, stage_process, tracker
from tests.tracking.server import Server
from tools.deps import ROOT
from tracking.__main__ import main
from tracking.journal import folder
from tracking.store import Store
from tracking.tracker import sync

NOWHERE = "http://somebody:s3cret@127.0.0.1:9"  # nothing listens on the discard port
ALL = [(step, float(step)) for step in range(300)]


def test_store_away_loses_nothing_shows_no_password_and_sync_sends_it_once(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    with tracker(root, params) as run_:
        for step in range(10):
            run_.report(step, {"loss": 1.0}, {"grid": np.zeros((8, 8, 3), np.uint8)})
        run_.finish({"psnr": 20.0})
    assert main(["sync"]) == 1
    output = "".join(capfd.readouterr())
    assert "python -m tracking sync" in output
    assert "s3cret" not in output
    assert not any(b"s3cret" in path.read_bytes() for path in root.rglob("*") if path.is_file())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (journal,) = folder(root).glob("*.jsonl")
    kept = journal.read_bytes()
    assert main(["sync"]) == 0
    assert pending(root) == []
    journal.write_bytes(kept)  # as if the machine had died between sending and deleting
    assert sync(root) == 1
    (run,), (parent,) = runs(root, "train_dvae"), runs(root)
    assert curve(root, run) == [(step, 1.0) for step in range(10)]
    assert curve(root, run, "train_dvae.psnr") == curve(root, parent, "train_dvae.psnr") == [(0, 20.0)]
    assert len(pictures(root, run)) == 10
    assert run.info.status == "FINISHED"


def test_next_stage_sends_what_a_stage_left_behind(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with tracker(root, params, "prepare") as run_:
        run_.report(1, {"loss": 1.0})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with tracker(root, params, "sample"):
        pass
    assert pending(root) == []
    (run,), (parent,) = runs(root, "prepare"), runs(root)
    assert curve(root, run) == [(1, 1.0)]
    assert parent.info.status == "FINISHED"


@pytest.mark.slow
def test_kill_in_the_middle_loses_no_journalled_point(root: Path) -> None:
    with stage_process(root, "train_dvae", "die") as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    sync(root)
    (run,) = runs(root, "train_dvae")
    assert curve(root, run) == [(step, float(step)) for step in range(300)]
    assert run.info.status == "KILLED"
    with stage_process(root, "train_dvae", "live") as process:
        output = process.communicate(timeout=60)
    assert output == ("", "")
    (run,) = runs(root, "train_dvae")
    assert len(curve(root, run)) == 300
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_eight_processes_at_once_on_a_store_that_does_not_exist_share_one_parent(root: Path) -> None:
    (root / ".d2it" / "mlflow.db").unlink()
    stages = ["prepare", "train_dvae", "encode_latents", "train_grain", "train_content", "sample", "fid", "other"]
    processes = [stage_process(root, stage) for stage in stages]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    sync(root)
    (parent,) = runs(root)
    for stage in stages:
        (run,) = runs(root, stage)
        assert curve(root, run) == ALL
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert parent.data.tags[f"stage.{stage}"] == run.info.run_id
    assert parent.info.status == "FINISHED"


@pytest.mark.slow
def test_database_locked_for_30_seconds_loses_nothing(root: Path) -> None:
    holder = sqlite3.connect(root / ".d2it" / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    process = stage_process(root, "train_dvae", pause=0.02)
    time.sleep(30)
    holder.execute("COMMIT")
    holder.close()
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert time.monotonic() - began >= 30
    sync(root)
    (run,) = runs(root, "train_dvae")
    assert curve(root, run) == ALL
    assert run.info.status == "FINISHED"
    assert pending(root) == []


@pytest.mark.slow
def test_real_server_gets_points_and_pictures_and_serves_them_back(
    root: Path, params: Params, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    with tracker(root, params) as run_:
        for step in range(1500):
            run_.report(step, {"loss": float(step)})
        run_.report(1500, {"loss": float("nan")}, {"grid": picture})
        run_.finish({"psnr": 20.0})
    (run,), (parent,) = runs(root, "train_dvae"), runs(root)
    assert [step for step, _ in curve(root, run)] == list(range(1501))
    assert run.info.status == "FINISHED"
    assert parent.data.metrics["train_dvae.psnr"] == 20.0
    (file,) = pictures(root, run)
    assert Path(Store.connect(root).client.download_artifacts(run.info.run_id, file)).stat().st_size > 100
    assert pending(root) == []


@pytest.mark.slow
def test_server_killed_in_the_middle_and_started_again_has_every_point_once(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    process = stage_process(root, "train_dvae", pause=0.06)
    deadline = time.monotonic() + 60
    while not any(curve(root, run) for run in runs(root, "train_dvae")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    server.stop(signal.SIGKILL)
    time.sleep(6)
    assert process.poll() is None, "must be in its middle"
    server.start()
    process.communicate(timeout=120)
    assert process.returncode == 0
    sync(root)
    (run,) = runs(root, "train_dvae")
    assert curve(root, run) == ALL
    assert run.info.status == "FINISHED"
    assert pending(root) == []


@pytest.mark.slow
def test_kill_while_the_store_is_made_leaves_no_half_store(root: Path) -> None:
    connect = "import sys; from pathlib import Path; from tracking.store import Store; Store.connect(Path(sys.argv[1]))"
    made = root / ".d2it" / "mlflow.db"
    made.unlink()
    with subprocess.Popen([sys.executable, "-c", connect, str(root)], cwd=ROOT) as process:
        deadline = time.monotonic() + 60
        part = made.with_name("mlflow.db.part")
        while not (part.exists() and part.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
    assert not made.exists()
    subprocess.run([sys.executable, "-c", connect, str(root)], cwd=ROOT, check=True, timeout=60)
    assert made.exists()
