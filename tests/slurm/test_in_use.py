"""`python -m slurm clean` beside real jobs: a stage takes no lock of its own here, what keeps it is that it is seen."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.repository import LIMIT, STAGE, Repository, line_of, wait_for

TRAINS = """
scratch = root / ".d2it" / "scratch" / f"{name}-{key[:16]}"
scratch.mkdir(parents=True)
(scratch / "step-1.safetensors").write_bytes(bytes(1_000_000))
wait_for("go")
(out / "weights").write_text("good")
"""


def run_clean(repository: Repository, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "slurm", "clean", *arguments], cwd=repository.folder,
        env=repository.environment | environment, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def left(repository: Repository) -> set[str]:
    """Which folders hold anything of the stage."""
    return {path.parent.name for path in repository.folder.glob(f".d2it/*/{STAGE}-*")}


def has_begun(repository: Repository) -> bool:
    return any(repository.folder.glob(".d2it/scratch/*/*"))


def test_a_job_on_this_machine_survives_its_launcher_and_clean_and_is_delivered(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.stage_is(TRAINS)
    launcher = repository.start()
    wait_for(lambda: has_begun(repository))
    assert "holds a lock of it" in line_of(run_clean(repository, "--yes", "--days", "0"), STAGE)
    launcher.kill()
    launcher.communicate(timeout=LIMIT)
    assert "its job runs on this machine" in line_of(run_clean(repository, "--yes", "--days", "0"), STAGE)
    repository.touch("go")
    wait_for(lambda: "was not delivered" in line_of(run_clean(repository, "--yes"), STAGE))
    assert left(repository) == {"jobs", "scratch", "logs", "locks"}
    assert repository.run().returncode == 0
    assert (tmp_path / "outputs" / STAGE / "weights").read_text() == "good"
    assert len(repository.starts()) == 1
    run_clean(repository, "--yes", "--days", "0")
    assert left(repository) == set()


@pytest.mark.slurm
def test_what_a_job_of_slurm_uses_survives_and_goes_once_it_is_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    repository = Repository(tmp_path, **cluster.env | {"D2IT_PROFILE": ""})
    (tmp_path / "slurm" / "cluster.yaml").write_text("defaults: {cpus_per_task: 1, mem_gb: 2, time: 10}\n")
    repository.stage_is(TRAINS)
    launcher = repository.start()
    wait_for(lambda: has_begun(repository))
    (record,) = repository.folder.glob(".d2it/jobs/*/submitted.json")
    job = json.loads(record.read_text())["id"]
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate(timeout=LIMIT)
    record.unlink()  # as where the launcher was killed earlier
    everything = {"jobs", "scratch", "logs", "locks"}
    for _ in range(2):
        assert f"job {job} is RUNNING" in line_of(run_clean(repository, "--yes", "--days", "0"), STAGE)
        assert left(repository) == everything
        record.write_text(json.dumps({"target": "slurm", "id": job}))
    cluster.run("scancel", job)
    wait_for(lambda: "CANCELLED" in cluster.run("squeue", "--noheader", "--states=all", f"--job={job}", "--format=%T"))
    cluster.stop_controller()
    assert "SLURM does not answer" in line_of(run_clean(repository, "--yes", "--days", "0"), STAGE)
    assert left(repository) == everything
    cluster.start_controller()
    assert line_of(run_clean(repository, "--yes", "--days", "0"), STAGE).startswith("removed")
    assert left(repository) == set()
