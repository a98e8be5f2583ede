"""One stage's run as it is in a real MLflow store: SQLite."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from d2it.params.sections import Params
from tests.tracking.mlflow_store import curve, pending, pictures, runs, tracker
from tracking.store import Store


def test_points_arrive_once_and_in_order_and_the_journal_goes(root: Path, params: Params) -> None:
    with tracker(root, params) as run_:
        for step in range(2500):
            run_.report(step, {"loss": step / 2, "psnr %": 1.0})
        run_.finish({"rfid": 3.5})
    (run,) = runs(root, "train_dvae")
    assert curve(root, run) == [(step, step / 2) for step in range(2500)]
    assert len(curve(root, run, "psnr _")) == 2500
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train_dvae"
    assert run.data.metrics["train_dvae.rfid"] == 3.5
    assert run.data.tags["d2it.key"] == "a" * 64
    assert pending(root) == []


def test_not_a_number_arrives_as_such(root: Path, params: Params) -> None:
    with tracker(root, params) as run_:
        run_.report(1, {"loss": float("nan")})
        run_.report(2, {"loss": 1.0})
    (run,) = runs(root, "train_dvae")
    (_, first), (_, second) = curve(root, run)
    assert np.isnan(first)
    assert second == 1.0


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
        with tracker(root, params) as run_:
            run_.report(1, {"loss": 1.0})
            raise error

    with pytest.raises(type(error)):
        fail()
    (run,), (parent,) = runs(root, "train_dvae"), runs(root)
    assert (run.info.status, parent.info.status) == (status, status)
    assert curve(root, run) == [(1, 1.0)]


def test_term_signal_ends_the_run_as_killed(root: Path, params: Params) -> None:
    def stage() -> None:
        with tracker(root, params):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        stage()
    assert [run.info.status for run in runs(root, "train_dvae")] == ["KILLED"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_resumed_stage_continues_its_run_and_no_step_comes_twice(root: Path, params: Params) -> None:
    def train(first: int, stop: int, fails: bool) -> None:
        with tracker(root, params) as run_:
            for step in range(first, stop, 10):
                run_.report(step, {"loss": float(step)}, {"grid": np.zeros((8, 8, 3), np.uint8)})
            if fails:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        train(0, 80, fails=True)
    train(50, 120, fails=False)
    (run,), (parent,) = runs(root, "train_dvae"), runs(root)
    assert curve(root, run) == [(step, float(step)) for step in range(0, 120, 10)]
    assert len(pictures(root, run)) == 12
    assert (run.info.status, parent.info.status) == ("FINISHED", "FINISHED")


def test_finished_stage_run_again_and_another_key_are_new_runs(root: Path, params: Params) -> None:
    for key in ("a" * 64, "a" * 64, "c" * 64):
        with tracker(root, params, key=key):
            pass
    assert len(runs(root, "train_dvae")) == 3
    assert len(runs(root)) == 1


def test_pictures_are_where_the_slider_of_the_ui_looks(root: Path, params: Params) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    with tracker(root, params) as run_:
        for step in (0, 64):
            run_.report(step, {}, {"samples/grid": picture})
    (run,) = runs(root, "train_dvae")
    files = sorted(pictures(root, run))
    assert [file.split("+timestamp")[0] for file in files] == [
        "images/pictures~samples~grid+step+0",
        "images/pictures~samples~grid+step+64",
    ]
    assert run.data.tags["mlflow.loggedImages"] == "True"
    assert run.info.artifact_uri.startswith((root / ".d2it" / "mlartifacts").as_uri())


def test_wrong_picture_is_an_error_at_once(root: Path, params: Params) -> None:
    with pytest.raises(ValueError, match=r"float64 \(8, 8\), must be uint8"), tracker(root, params) as run_:
        run_.report(0, {}, {"grid": np.zeros((8, 8))})  # type: ignore[dict-item]


def test_run_records_where_it_ran_and_how_often_it_was_started_again(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "gpu[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "8"}
    for name, value in (nodes | {"SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "6"}).items():
        monkeypatch.setenv(name, value)
    for attempt in range(3):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(attempt))
        try:
            with tracker(root, params) as run_:
                run_.report(attempt + 1, {"loss": 1.0})
                if attempt < 2:
                    raise SystemExit(128 + signal.SIGTERM)
        except SystemExit:
            pass
    (run,) = runs(root, "train_dvae")
    tags = {"job.nodes": "gpu[1-2]", "job.ranks": "8", "job.gpus": "8", "job.cores": "48", "slurm.job_id": "77"}
    assert tags.items() <= run.data.tags.items()
    assert (run.data.tags["job.restarts"], run.data.tags["slurm.restarts"]) == ("2", "2")
    assert len(curve(root, run, "system/job_gpu_hours")) == 3
    hours = sum(value for _, value in curve(root, run, "system/job_gpu_hours"))
    assert run.data.metrics["train_dvae.gpu_hours"] == pytest.approx(hours)


def test_system_numbers_are_on_the_run_and_go_on_after_a_restart(root: Path, params: Params) -> None:
    for end in (SystemExit(143), None):
        try:
            with tracker(root, params):
                time.sleep(1.1)
                if end:
                    raise end
        except SystemExit:
            pass
    (run,) = runs(root, "train_dvae")
    seconds = [second for second, _ in curve(root, run, "system/memory_megabytes")]
    assert len(seconds) == 2
    assert seconds[0] < seconds[1]
    assert run.data.metrics["system/memory_megabytes"] > 10
    assert run.data.metrics["system/cpu_percent"] >= 0


def test_weights_stay_with_dvc_and_the_run_names_their_hash(root: Path, params: Params) -> None:
    folder = root / "outputs" / "train_dvae"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    with tracker(root, params) as run_:
        run_.finish({})
    (run,) = runs(root, "train_dvae")
    assert run.data.tags["dvc.md5.weights.safetensors"] == "63f4f1e9b725370f459720575cd5f953"
    assert Store.connect(root).client.list_artifacts(run.info.run_id) == []
