"""The private cluster: it starts, ends and fails as a real one does, and leaves nothing behind."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import StageError
from slurm.dev.cluster import DAEMONS, DevCluster, missing_programs, with_lines
from tests.slurm.cluster import Cluster, start_cluster

ROOT = Path(__file__).parents[2]
LIMIT = 120.0
needs_slurm = pytest.mark.slurm


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def dev(*arguments: str, path: str = os.environ["PATH"]) -> "subprocess.CompletedProcess[str]":
    code = "import sys; from slurm.dev.command import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.fixture
def second() -> Iterator[Cluster]:
    cluster = start_cluster("KillWait=2")
    yield cluster
    cluster.dev.down()


@needs_slurm
def test_two_clusters_run_side_by_side_and_each_has_its_own_jobs(cluster: Cluster, second: Cluster) -> None:
    for one in (cluster, second):
        assert one.run("srun", "-N2", "sh", "-c", "echo $SLURMD_NODENAME").split() in (["n1", "n2"], ["n2", "n1"])
    job = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60").strip()
    assert cluster.run("squeue", "--noheader", "--format=%A").split() == [job]
    assert second.run("squeue", "--noheader").split() == []


@needs_slurm
def test_the_command_starts_a_cluster_once_and_ends_it_with_its_jobs_and_files(second: Cluster, tmp_path: Path) -> None:
    folder = f"--folder={second.dev.folder}"
    before = [second.dev.pid(daemon) for daemon in DAEMONS]
    again = dev("up", folder)
    assert (again.returncode, again.stdout) == (0, f"export SLURM_CONF={second.dev.conf} D2IT_PROFILE=dev\n")
    assert [second.dev.pid(daemon) for daemon in DAEMONS] == before
    status = dev("status", folder)
    assert status.returncode == 0
    assert all(f"{daemon}: runs, process {pid}" in status.stdout for daemon, pid in zip(DAEMONS, before, strict=True))
    second.run(
        "sbatch", f"--output={tmp_path}/%j", "--nodes=2", "--wrap", f"touch {tmp_path}/up; trap '' TERM; sleep 60"
    )
    wait_for((tmp_path / "up").exists)
    processes = second.dev.processes()
    assert len(processes) > 2
    for _ in range(2):
        down = dev("down", folder)
        assert (down.returncode, down.stdout) == (0, "unset SLURM_CONF D2IT_PROFILE\n")
        assert not second.dev.folder.exists()
        assert second.dev.processes() == []
    assert dev("status", folder).returncode == 1


@needs_slurm
def test_a_cluster_comes_up_again_after_all_its_daemons_were_killed(second: Cluster) -> None:
    for node in ("n1", "n2"):
        second.dev.fail(node)
    assert dev("status", f"--folder={second.dev.folder}").returncode == 1
    second.dev.up()
    second.run("srun", "--nodes=2", "true")


@needs_slurm
def test_a_stopped_node_takes_its_processes_with_it_and_its_job_runs_again(cluster: Cluster, tmp_path: Path) -> None:
    script = f"echo $SLURMD_NODENAME >> {tmp_path}/starts; sleep 60"
    cluster.run("sbatch", "--requeue", "--output=/dev/null", "--nodelist=n2", f"--wrap={script}")
    wait_for((tmp_path / "starts").exists)
    cluster.stop_node("n2")
    assert cluster.dev.processes("n2") == []
    assert cluster.dev.pid("n1") is not None
    cluster.start_node("n2")
    wait_for(lambda: (tmp_path / "starts").read_text().split() == ["n2", "n2"])


@needs_slurm
def test_a_job_outlives_its_controller(cluster: Cluster, tmp_path: Path) -> None:
    script = f"touch {tmp_path}/up; while ! [ -e {tmp_path}/go ]; do sleep 0.1; done; touch {tmp_path}/done"
    job = cluster.run("sbatch", "--parsable", "--output=/dev/null", f"--wrap={script}").strip()
    wait_for((tmp_path / "up").exists)
    cluster.restart_controller()
    assert "JobState=RUNNING" in cluster.run("scontrol", "show", "job", job)
    (tmp_path / "go").touch()
    wait_for((tmp_path / "done").exists)


@needs_slurm
def test_a_job_in_high_preempts_one_in_low_which_runs_again(cluster: Cluster, tmp_path: Path) -> None:
    low = f"trap 'echo asked >> {tmp_path}/low; exit' TERM; echo start >> {tmp_path}/low; sleep 60 & wait"
    cluster.run("sbatch", "--requeue", "--output=/dev/null", "--nodes=2", "--exclusive", f"--wrap={low}")
    wait_for((tmp_path / "low").exists)
    cluster.run("srun", "--partition=high", "--nodes=2", "true")
    wait_for(lambda: (tmp_path / "low").read_text().split() == ["start", "asked", "start"])


@needs_slurm
def test_a_daemon_that_does_not_start_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    if missing_programs():
        pytest.skip("needs SLURM: Debian packages slurm-wlm and munge")
    folder = tmp_path / "c"
    done = dev("up", f"--folder={folder}", "--conf=SelectType=select/none_such")
    assert (done.returncode, done.stdout) == (2, "false\n")  # so that eval "$(...)" && ... stops
    assert "Can't find plugin for select/none_such" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not folder.exists()


def test_missing_programs_are_one_line_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.dev.cluster._FOLDERS", str(tmp_path))
    with pytest.raises(StageError, match=r"not installed: munged, slurmctld, .*apt-get install .* slurm-wlm munge"):
        DevCluster(tmp_path / "c").up()
    assert not (tmp_path / "c").exists()


def test_lines_of_slurm_conf_take_the_place_of_ours_by_key_node_or_partition() -> None:
    text = "# KillWait=1\nKillWait=10\nPartitionName=low Nodes=ALL\nPartitionName=high Nodes=ALL\n"
    lines = ["killwait=5", "PartitionName=low Nodes=n1", "PartitionName=short MaxTime=1"]
    assert with_lines(text, lines).splitlines() == [
        "# KillWait=1",
        "PartitionName=high Nodes=ALL",
        *lines,
    ]


@pytest.mark.parametrize("line", ["KillWait", "=5", "Kill Wait=5", ""])
def test_a_line_that_is_no_key_and_value_is_an_error(line: str) -> None:
    with pytest.raises(StageError, match="must be KEY=VALUE"):
        with_lines("KillWait=10\n", [line])
