"""`python -m slurm doctor`: each failure that can be provoked is one line with what to do."""

import http.server
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.doctor import command
from slurm.doctor.job import order_folder
from slurm.doctor.node import CheckError, Finding, Order, examine, locks, mlflow, torch_device
from tests.slurm.cluster import Cluster

ROOT = Path(__file__).parents[2]
DAG = "stages:\n  prepare: {cmd: x, params: [seed]}\n  train_dvae: {cmd: y}\n"
SMALL = "defaults: {cpus_per_task: 1, mem_gb: 1}\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a small cluster.yaml, and no choice where to run."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text(DAG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("D2IT_CLUSTER", "D2IT_PROFILE", "D2IT_WEIGHTS", "DVC_ROOT", "MLFLOW_TRACKING_URI", "SLURM_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("slurm.doctor.command.CLUSTER", tmp_path / "cluster.yaml")
    monkeypatch.setattr("slurm.doctor.job.GRACE_SECONDS", 1.0)  # this folder needs none
    (tmp_path / "cluster.yaml").write_text(SMALL)
    return tmp_path


@pytest.fixture
def on_cluster(workspace: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    return cluster


def diagnose() -> dict[str, Finding]:
    return {finding.check: finding for finding in command.check()}


def failures() -> dict[str, str]:
    return {name: finding.detail for name, finding in diagnose().items() if finding.verdict == "FAIL"}


@pytest.mark.parametrize("content", ["", '{"write": {'])
def test_locks_that_a_killed_dvc_has_damaged_are_noticed_with_the_remedy(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rwlock"
    assert command._rwlock(path) == "nothing is locked"
    path.write_text('{"read": {}}')
    assert command._rwlock(path) == "its file of locks can be read"
    path.write_text(content)
    with pytest.raises(CheckError, match="rwlock: damaged by a dvc that was killed: remove it"):
        command._rwlock(path)


@pytest.mark.slow
@pytest.mark.slurm
def test_a_cluster_that_is_well_passes_every_check(
    on_cluster: Cluster, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok    ") for line in lines)
    checks = [line.removeprefix("ok    ").partition(":")[0] for line in lines]
    assert checks[:5] == ["cluster.yaml", "dvc", "SLURM", "weights", "partitions"]
    node = checks[5].rpartition(" ")[2]
    assert checks[5:] == [f"{n} on {node}" for n in ("shared folder", "locks", "python", "torch", "weights", "MLflow")]
    assert list((workspace / ".d2it").iterdir()) == []
    assert on_cluster.run("squeue", "--noheader", "--states=PENDING,RUNNING").split() == []


@pytest.mark.slow
@pytest.mark.slurm
def test_what_a_node_lacks_is_one_line_each_without_a_password(
    on_cluster: Cluster, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = (workspace / "params.yaml").read_text()
    assert "perceptual: efficientnet_lite0" in params
    (workspace / "params.yaml").write_text(params.replace("perceptual: efficientnet_lite0", "perceptual: lpips"))
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        uri = f"http://me:secret@127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        findings = diagnose()
    assert [name.partition(" on ")[0] for name, one in findings.items() if one.verdict == "FAIL"] == [
        "weights",
        "weights",
        "MLflow",
    ]
    assert "vgg16" in findings["weights"].detail
    assert "put https://" in findings["weights"].detail
    (store,) = [one.detail for name, one in findings.items() if name.startswith("MLflow")]
    assert "refused" in store
    assert "python -m tracking sync" in store
    assert not any("secret" in one.detail for one in findings.values())


@pytest.mark.slurm
def test_a_folder_that_a_node_does_not_see_is_named(on_cluster: Cluster, workspace: Path) -> None:
    (workspace / ".d2it").mkdir()
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace, for a node of its own view")
    (workspace / "cluster.yaml").write_text("defaults: {mem_gb: 1, sbatch: {nodelist: n2}}")
    on_cluster.dev.end("n2")
    hide = f"mount -t tmpfs none {workspace}/.d2it && exec slurmd -D -f {on_cluster.dev.conf} -N n2"
    subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", hide],
        env=on_cluster.dev.environment | {"SLURMD_NODENAME": "n2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while on_cluster.dev.run("srun", "--nodelist=n2", "true").returncode:
        assert time.monotonic() < deadline
    failed = failures()
    on_cluster.dev.end("n2")
    assert list(failed) == ["shared folder on n2"]
    assert f"{workspace}/.d2it is not there" in failed["shared folder on n2"]


@pytest.mark.slurm
def test_an_environment_that_a_node_lacks_is_named(on_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/none/such/python")
    failed = failures()
    assert [name.partition(" on ")[0] for name in failed] == ["python"]
    assert "/none/such/python does not start" in "".join(failed.values())


@pytest.mark.slurm
def test_a_set_up_line_that_fails_shows_its_output(on_cluster: Cluster, workspace: Path) -> None:
    (workspace / "cluster.yaml").write_text("defaults: {mem_gb: 1, setup: ['echo no such module; exit 3']}")
    failed = failures()
    assert "exit code 3: no such module" in "".join(failed.values())


@pytest.mark.slurm
def test_a_full_cluster_is_no_failure_and_the_job_is_cancelled(
    on_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.doctor.job.QUEUE_SECONDS", 1.0)
    job = on_cluster.run("sbatch", "--parsable", "--output=/dev/null", "-N2", "--exclusive", "--wrap=sleep 60").strip()
    findings = diagnose()
    assert findings["node"].verdict == "skip"
    assert "still queued" in findings["node"].detail
    queued = on_cluster.run("squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%A").split()
    assert queued == [job]


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("text", "check", "expected"),
    [
        (
            "defaults: {partition: gpu}",
            "prepare, train_dvae",
            "partition = 'gpu': no such partition; allowed: low, high",
        ),
        ("stages: {train_dvae: {gpus_per_node: 1}}", "train_dvae", "gpus_per_node = 1: no node of partition 'low' has"),
        ("defaults: {time: 2}", "cluster.yaml", "defaults.time = 2: must be at least 3 minutes: signal_delay_s and"),
        ("defaults: {memory: 2}", "cluster.yaml", "defaults.memory: unknown key; allowed: partition"),
        ("defaults: {account: x, constraint: none}", "job", "sbatch: Batch job submission failed: Invalid feature"),
    ],
)
def test_a_wrong_cluster_yaml_is_one_line_and_no_job(
    on_cluster: Cluster, workspace: Path, text: str, check: str, expected: str
) -> None:
    (workspace / "cluster.yaml").write_text(text)
    ((name, line),) = failures().items()
    assert name == check
    assert expected in line


@pytest.mark.slurm
def test_a_partition_that_is_down_is_named(on_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cluster.run("scontrol", "update", "partitionname=low", "state=down")
    try:
        assert failures() == {"partition low": "is down: its jobs wait; ask its admins"}
    finally:
        on_cluster.run("scontrol", "update", "partitionname=low", "state=up")


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["local", None])
def test_without_slurm_this_machine_is_checked(
    asked: str | None, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked:
        monkeypatch.setenv("D2IT_CLUSTER", asked)
    else:
        monkeypatch.setenv("PATH", str(workspace))
    findings = diagnose()
    assert [name for name, one in findings.items() if one.verdict == "FAIL"] == []
    assert findings["SLURM"].verdict == "skip"
    assert {name.partition(" on ")[0] for name in findings} >= {"python", "torch", "MLflow", "weights"}


def test_a_cluster_that_has_gone_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D2IT_CLUSTER", "slurm")
    monkeypatch.setenv("PATH", str(workspace))
    assert "there is no sbatch on PATH" in failures()["SLURM"]
    (workspace / "sbatch").touch(0o700)
    monkeypatch.setenv("SLURM_CONF", str(workspace / "none"))
    assert failures() == {"SLURM": f"SLURM_CONF = {workspace}/none: no such file; unset it, or start that cluster"}
    (workspace / "scontrol").write_text("#!/bin/sh\necho 'Slurmctld(primary) at c is DOWN'\n")
    (workspace / "scontrol").chmod(0o700)
    monkeypatch.delenv("SLURM_CONF")
    assert failures()["SLURM"].startswith("scontrol ping: Slurmctld(primary) at c is DOWN; ")


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /health to all, and what stages ask first to user me with password open: there is no experiment yet."""

    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == "Basic bWU6b3Blbg=="
        asked = self.path == "/api/2.0/mlflow/experiments/get-by-name?experiment_name=d2it"
        self.send_response((404 if asked and allowed else 401) if self.path != "/health" else 200)
        self.end_headers()
        self.wfile.write(b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none yet"}' if allowed else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_is_asked_with_the_users_password_which_is_never_shown(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # so that what the client sets is taken back
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:open@{address}/")
    assert mlflow(tmp_path, tmp_path) == f"http://{address}/ answers"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "open")
    assert mlflow(tmp_path, tmp_path) == f"http://{address} answers"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:wrong-one@{address}")
    with pytest.raises(CheckError, match="401") as error:
        mlflow(tmp_path, tmp_path)
    assert "wrong-one" not in str(error.value)


def test_a_database_that_stays_locked_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("slurm.doctor.node.ANSWER_SECONDS", 0.1)
    (tmp_path / ".d2it").mkdir()
    assert mlflow(tmp_path, tmp_path).endswith("answers")
    database = sqlite3.connect(tmp_path / ".d2it" / "mlflow.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    with pytest.raises(CheckError, match=r"mlflow\.db: database is locked"):
        mlflow(tmp_path, tmp_path)
    database.close()


def test_a_lock_that_does_not_hold_on_the_node_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="mount /shared so that flock works"):
        locks(tmp_path, Order(root="/shared", gpus=0, elsewhere=True))
    with order_folder(tmp_path, gpus=0, elsewhere=True) as folder:
        assert "holds" in locks(folder, Order(root="/shared", gpus=0, elsewhere=True))


def test_a_gpu_that_torch_does_not_see_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert torch_device(0).endswith("on the CPU")
    with pytest.raises(CheckError, match="sees no GPU"):
        torch_device(1)


def test_a_check_that_breaks_is_one_line(tmp_path: Path) -> None:
    def check() -> str:
        raise OSError("two\nlines")

    assert examine("x", check) == Finding("FAIL", "x", "OSError: two lines")
