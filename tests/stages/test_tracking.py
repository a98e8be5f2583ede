"""Runs as they are in a real MLflow store: SQLite, and once a real server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from d2it.params import Params, load
from stages.dag import Definition
from stages.journal import folder
from stages.parent import downstream, flatten
from stages.store import Store, redacted, split_credentials, tracking_uri
from stages.tracking import Tracker, main, sync, ui_command

REPOSITORY = Path(__file__).resolve().parents[2]
NOWHERE = "http://somebody:s3cret@127.0.0.1:9"  # nothing listens on the discard port


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in it: making them takes 3 s."""
    path = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without stages, with an empty store; the current folder."""
    (tmp_path / ".d2it").mkdir()
    shutil.copy(fresh_store, tmp_path / ".d2it" / "mlflow.db")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_ROOT", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def params() -> Params:
    return load(REPOSITORY / "params.yaml")


def _tracker(root: Path, params: Params, stage: str = "train_dvae", key: str = "a" * 64) -> Tracker:
    return Tracker.open(stage=stage, key=key, params=params, root=root)


def _runs(root: Path, stage: str | None = None) -> list[Run]:
    """All runs of a stage, or all parents, oldest first."""
    store = Store.connect(root)
    runs = store.client.search_runs([store.experiment_id], order_by=["attributes.start_time ASC"])
    return [run for run in runs if run.data.tags.get("d2it.stage") == stage]


def _curve(root: Path, run: Run, name: str = "loss") -> list[tuple[int, float]]:
    history = Store.connect(root).client.get_metric_history(run.info.run_id, name)
    return [(metric.step, metric.value) for metric in history]


def _pictures(root: Path, run: Run) -> list[str]:
    files = Store.connect(root).client.list_artifacts(run.info.run_id, "images")
    return [file.path for file in files if file.path.endswith(".png")]


def _pending(root: Path) -> list[str]:
    return [path.name for path in folder(root).iterdir()]


def test_points_arrive_once_and_in_order_and_the_journal_goes(root: Path, params: Params) -> None:
    with _tracker(root, params) as tracker:
        for step in range(2500):
            tracker.report(step, {"loss": step / 2, "psnr %": 1.0})
        tracker.finish({"rfid": 3.5})
    (run,) = _runs(root, "train_dvae")
    assert _curve(root, run) == [(step, step / 2) for step in range(2500)]
    assert len(_curve(root, run, "psnr _")) == 2500
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train_dvae"
    assert run.data.metrics["train_dvae.rfid"] == 3.5
    assert run.data.tags["d2it.key"] == "a" * 64
    assert _pending(root) == []


def test_not_a_number_arrives_as_such(root: Path, params: Params) -> None:
    with _tracker(root, params) as tracker:
        tracker.report(1, {"loss": float("nan")})
        tracker.report(2, {"loss": 1.0})
    (run,) = _runs(root, "train_dvae")
    (_, first), (_, second) = _curve(root, run)
    assert np.isnan(first)
    assert second == 1.0


def test_parent_holds_all_params_the_final_numbers_and_the_way_to_its_stages(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tipsy-newt")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c0ffee")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with _tracker(root, params, "prepare") as tracker:
        (root / "outputs" / "prepare").mkdir(parents=True)
        (root / "outputs" / "prepare" / "data.json").write_text('{"fingerprint": "f00d"}')
        tracker.finish({"images": 8192})
    with _tracker(root, params, "sample") as tracker:
        tracker.finish({"images_per_second": 12.0})
    (parent,) = _runs(root)
    assert parent.info.run_name == "tipsy-newt"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == flatten(params.model_dump(mode="json"))
    assert parent.data.params["grain.factors"] == "[8, 16]"
    assert parent.data.metrics == {"prepare.images": 8192, "sample.images_per_second": 12.0}
    assert parent.data.tags["dvc.baseline"] == "c0ffee"
    assert parent.data.tags["data.fingerprint"] == "f00d"
    for stage in ("prepare", "sample"):
        (run,) = _runs(root, stage)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["slurm.job_id"] == "77"
        assert parent.data.tags[f"stage.{stage}"] == run.info.run_id


def test_experiments_are_apart_by_name_and_by_params_and_a_repeated_one_is_the_same(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = params.model_copy(update={"seed": params.seed + 1})
    for name, chosen in (("", params), ("", other), ("one", params), ("two", params), ("", params), ("one", params)):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        with _tracker(root, chosen):
            pass
    assert sorted(str(run.info.run_name) for run in _runs(root)) == ["one", "two", "workspace", "workspace"]


def test_stage_from_the_cache_is_linked_with_its_numbers(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.tracking.keys_of_others", lambda _: {"prepare": "b" * 64, "fid": "0" * 64})
    monkeypatch.setenv("DVC_EXP_NAME", "one")
    with _tracker(root, params, "prepare", "b" * 64) as tracker:
        tracker.finish({"images": 8.0})
    monkeypatch.setenv("DVC_EXP_NAME", "two")
    with _tracker(root, params, "sample"):
        pass
    two = next(run for run in _runs(root) if run.info.run_name == "two")
    (prepare,) = _runs(root, "prepare")
    assert two.data.tags["stage.prepare"] == prepare.info.run_id
    assert "stage.fid" not in two.data.tags
    assert two.data.metrics == {"prepare.images": 8.0}


def test_stages_downstream_are_not_linked_before_their_inputs_are_there() -> None:
    def reads(*deps: str) -> Definition:
        return Definition("", (), deps, (), ())

    known = {
        "prepare": reads("stages/prepare.py"),
        "train_dvae": reads("outputs/prepare/shards"),
        "encode_latents": reads("outputs/train_dvae"),
        "other": reads("outputs/prepare_more"),
    }
    assert downstream("prepare", known) == {"train_dvae", "encode_latents"}
    assert downstream("encode_latents", known) == set()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
        (SystemExit(1), "FAILED"),
    ],
)
def test_error_ends_the_run_and_passes_through(root: Path, params: Params, error: BaseException, status: str) -> None:
    def fail() -> None:
        with _tracker(root, params) as tracker:
            tracker.report(1, {"loss": 1.0})
            raise error

    with pytest.raises(type(error)):
        fail()
    (run,), (parent,) = _runs(root, "train_dvae"), _runs(root)
    assert (run.info.status, parent.info.status) == (status, status)
    assert _curve(root, run) == [(1, 1.0)]


def test_term_signal_ends_the_run_as_killed(root: Path, params: Params) -> None:
    def stage() -> None:
        with _tracker(root, params):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        stage()
    assert [run.info.status for run in _runs(root, "train_dvae")] == ["KILLED"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_resumed_stage_continues_its_run_and_no_step_comes_twice(root: Path, params: Params) -> None:
    def train(first: int, stop: int, fails: bool) -> None:
        with _tracker(root, params) as tracker:
            for step in range(first, stop, 10):
                tracker.report(step, {"loss": float(step)}, {"grid": np.zeros((8, 8, 3), np.uint8)})
            if fails:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        train(0, 80, fails=True)
    train(50, 120, fails=False)
    (run,), (parent,) = _runs(root, "train_dvae"), _runs(root)
    assert _curve(root, run) == [(step, float(step)) for step in range(0, 120, 10)]
    assert len(_pictures(root, run)) == 12
    assert (run.info.status, parent.info.status) == ("FINISHED", "FINISHED")


def test_finished_stage_run_again_and_another_key_are_new_runs(root: Path, params: Params) -> None:
    for key in ("a" * 64, "a" * 64, "c" * 64):
        with _tracker(root, params, key=key):
            pass
    assert len(_runs(root, "train_dvae")) == 3
    assert len(_runs(root)) == 1


def test_pictures_are_where_the_slider_of_the_ui_looks(root: Path, params: Params) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    with _tracker(root, params) as tracker:
        for step in (0, 64):
            tracker.report(step, {}, {"samples/grid": picture})
    (run,) = _runs(root, "train_dvae")
    files = sorted(_pictures(root, run))
    assert [file.split("+timestamp")[0] for file in files] == [
        "images/samples~grid+step+0",
        "images/samples~grid+step+64",
    ]
    assert run.data.tags["mlflow.loggedImages"] == "True"
    assert run.info.artifact_uri.startswith((root / ".d2it" / "mlartifacts").as_uri())


def test_wrong_picture_is_an_error_at_once(root: Path, params: Params) -> None:
    with pytest.raises(ValueError, match=r"float64 \(8, 8\), must be uint8"), _tracker(root, params) as tracker:
        tracker.report(0, {}, {"grid": np.zeros((8, 8))})  # type: ignore[dict-item]


def test_store_away_loses_nothing_says_no_password_and_sync_sends_it_once(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    with _tracker(root, params) as tracker:
        for step in range(10):
            tracker.report(step, {"loss": 1.0}, {"grid": np.zeros((8, 8, 3), np.uint8)})
        tracker.finish({"psnr": 20.0})
    assert main(["sync"]) == 1
    said = "".join(capfd.readouterr())
    assert "python -m stages.tracking sync" in said
    assert "s3cret" not in said
    assert not any(b"s3cret" in path.read_bytes() for path in root.rglob("*") if path.is_file())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (journal,) = folder(root).glob("*.jsonl")
    kept = journal.read_bytes()
    assert main(["sync"]) == 0
    assert _pending(root) == []
    journal.write_bytes(kept)  # as if the machine had died between sending and deleting
    assert sync(root) == 1
    (run,), (parent,) = _runs(root, "train_dvae"), _runs(root)
    assert _curve(root, run) == [(step, 1.0) for step in range(10)]
    assert _curve(root, run, "train_dvae.psnr") == _curve(root, parent, "train_dvae.psnr") == [(0, 20.0)]
    assert len(_pictures(root, run)) == 10
    assert run.info.status == "FINISHED"


def test_next_stage_sends_what_a_stage_left_behind(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with _tracker(root, params, "prepare") as tracker:
        tracker.report(1, {"loss": 1.0})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with _tracker(root, params, "sample"):
        pass
    assert _pending(root) == []
    (run,), (parent,) = _runs(root, "prepare"), _runs(root)
    assert _curve(root, run) == [(1, 1.0)]
    assert parent.info.status == "FINISHED"


_STAGE = """
import os, signal, sys
from pathlib import Path
from d2it.params import load
from stages.tracking import Tracker
params, root = load(Path("params.yaml")), Path(sys.argv[1])
with Tracker.open(stage=sys.argv[2], key="a" * 64, params=params, root=root) as tracker:
    for step in range(300):
        tracker.report(step, {"loss": float(step)})
    if sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def _stage_process(root: Path, stage: str, end: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _STAGE, str(root), stage, end]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_kill_in_the_middle_loses_no_journalled_point(root: Path) -> None:
    with _stage_process(root, "train_dvae", "die") as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    sync(root)
    (run,) = _runs(root, "train_dvae")
    assert _curve(root, run) == [(step, float(step)) for step in range(300)]
    assert run.info.status == "KILLED"
    with _stage_process(root, "train_dvae", "live") as process:
        said = process.communicate(timeout=60)
    assert said == ("", "")
    (run,) = _runs(root, "train_dvae")
    assert len(_curve(root, run)) == 300
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_four_processes_at_once_on_a_store_that_does_not_exist_share_one_parent(root: Path) -> None:
    (root / ".d2it" / "mlflow.db").unlink()
    stages = ["prepare", "train_dvae", "sample", "fid"]
    processes = [_stage_process(root, stage, "live") for stage in stages]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], said
    sync(root)
    (parent,) = _runs(root)
    for stage in stages:
        (run,) = _runs(root, stage)
        assert len(_curve(root, run)) == 300
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == "FINISHED"


@pytest.mark.slow
def test_real_server_gets_points_and_pictures_and_serves_them_back(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*ui_command(root, port), "--artifacts-destination", str(root / "served")]
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    with (root / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=root, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (root / "server.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        with _tracker(root, params) as tracker:
            for step in range(1500):
                tracker.report(step, {"loss": float(step)})
            tracker.report(1500, {"loss": float("nan")}, {"grid": picture})
            tracker.finish({"psnr": 20.0})
        (run,), (parent,) = _runs(root, "train_dvae"), _runs(root)
        assert [step for step, _ in _curve(root, run)] == list(range(1501))
        assert run.info.status == "FINISHED"
        assert parent.data.metrics == {"train_dvae.psnr": 20.0}
        (file,) = _pictures(root, run)
        assert Path(Store.connect(root).client.download_artifacts(run.info.run_id, file)).stat().st_size > 100
        assert _pending(root) == []
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_password_leaves_the_address_and_every_message() -> None:
    assert split_credentials("http://a%40b:p%3Aw@host:5000/x") == ("http://host:5000/x", "a@b", "p:w")
    assert split_credentials("sqlite:////tmp/a@b.db") == ("sqlite:////tmp/a@b.db", None, None)
    text = redacted("cannot reach\npostgresql://me:p%40w@host/db, p@w", "postgresql://me:p%40w@host/db")
    assert "p@w" not in text
    assert "p%40w" not in text
    assert "\n" not in text


def test_default_store_is_absolute(root: Path) -> None:
    assert tracking_uri(Path()) == f"sqlite:///{root}/.d2it/mlflow.db"
