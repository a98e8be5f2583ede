"""A stage on a real SLURM of two nodes survives what befalls clusters, to the last bit of its weights."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.conftest import Start
from tests.slurm.repository import LIMIT, wait_for
from tests.slurm.workflow import STAGE, end

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_a_requeued_job_goes_on_by_itself(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    dvc = w.start()
    w.wait_for_training()
    w.cluster.run("scontrol", "requeue", w.job())
    output, code = end(dvc)
    assert code == 0, output
    assert "start 2 of job" in output
    assert "going on from step" in output
    assert w.submissions() == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()
    (run,) = [run for run in w.runs() if run.info.run_name == STAGE]  # MLflow: one run, no point twice
    assert run.info.status == "FINISHED"
    assert w.logged_steps(run) == [int(point[0]) for point in w.curve()]


@pytest.mark.exhaustive
def test_a_preempted_job_goes_on_by_itself(workflow: Start, undisturbed: str) -> None:
    w = workflow(nodes=2)
    dvc = w.start()
    w.wait_for_training()
    high = ["--partition=high", "--nodes=2", "--exclusive", "--time=1", "--output=/dev/null", "--wrap=sleep 3"]
    w.cluster.run("sbatch", *high)
    output, code = end(dvc)
    assert code == 0, output
    assert "stopped after step" in output
    assert "start 2 of job" in output
    assert w.submissions() == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


def has_come(number: signal.Signals, pid: int) -> bool:
    """Whether a signal waits for a stopped process, or the process was continued with it and has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in pending)


def test_a_job_that_reaches_its_time_limit_twice_goes_on_by_itself(workflow: Start, undisturbed: str) -> None:
    """SLURM counts minutes and looks at them twice a minute: the rank is held until SLURM's signal has come."""
    w = workflow(time=2, signal_delay_s=60)
    dvc, step = w.start(), 0
    for _ in range(2):
        w.wait_for_training(beyond=step)
        job, (rank,) = w.job(), w.ranks()
        os.kill(rank, signal.SIGSTOP)
        w.cluster.run("scontrol", "update", f"jobid={job}", "timelimit=1")
        wait_for(functools.partial(has_come, signal.SIGUSR2, rank), 2 * LIMIT)
        with contextlib.suppress(ProcessLookupError):
            os.kill(rank, signal.SIGCONT)
        w.wait_for_state(job, "PENDING")
        step = w.newest_step()
        w.cluster.run("scontrol", "update", f"jobid={job}", "timelimit=10")
    output, code = end(dvc)
    assert code == 0, output
    assert "start 3 of job" in output
    assert output.count("saved; asking SLURM to requeue the job") == 2
    assert w.submissions() == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_ranks_that_wait_for_one_that_hangs_show_their_stacks_and_the_job_goes_on(
    workflow: Start, undisturbed: str
) -> None:
    w = workflow(tasks_per_node=2)
    dvc = w.start(D2IT_HANG_SECONDS="30")
    w.wait_for_training()
    os.kill(w.ranks()[1], signal.SIGSTOP)
    output, code = end(dvc)
    assert code == 0, output
    assert "it hangs here" in output
    assert "training/step.py" in output or "ranks/ranks.py" in output  # whichever of a step's exchanges it was
    assert "start 2 of job" in output
    assert w.submissions() == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_a_job_whose_node_goes_down_goes_on_on_the_other(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    dvc = w.start()
    w.wait_for_training()
    node = w.cluster.run("squeue", "--noheader", f"--job={w.job()}", "--format=%N").strip()
    w.cluster.stop_node(node)
    output, code = end(dvc)
    assert code == 0, output
    assert "going on from step" in output
    assert w.submissions() == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("needs to mount a tmpfs: no right to do so here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_when_a_checkpoint_is_written_loses_nothing(
    workflow: Start, undisturbed: str, small_disk: Path
) -> None:
    w = workflow()
    (w.folder / ".d2it").mkdir()
    (w.folder / ".d2it" / "scratch").symlink_to(small_disk)
    dvc = w.start()
    w.wait_for_training()
    free = shutil.disk_usage(small_disk).free
    (small_disk / "other").write_bytes(bytes(free - free % 4096 - 4096))
    log = next(w.folder.glob(".d2it/logs/*/*_0_log.out"))
    wait_for(lambda: "not written" in log.read_text(), 2 * LIMIT)
    assert w.checkpoints()
    os.kill(w.ranks()[0], signal.SIGKILL)
    assert end(dvc)[1] != 0
    (small_disk / "other").unlink()
    assert "going on from step" in w.run()
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_a_controller_that_is_away_during_a_job_is_waited_for(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    dvc = w.start()
    w.wait_for_training()
    w.cluster.restart_controller()
    output, code = end(dvc)
    assert code == 0, output
    assert w.submissions() == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_an_mlflow_server_that_is_away_for_the_whole_job_stops_nothing(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    output = w.run(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "MLflow does not have all of this run yet" in output
    assert w.weights() == undisturbed
    assert list(w.folder.glob(f".d2it/journal/{STAGE}-*.jsonl"))
    w.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"partition": "nowhere"}, "nowhere"),
        ({"gpus_per_node": 2}, "gpus_per_node"),
        ({"time": 1}, "time"),
        ({"colour": "red"}, "colour"),
        ({"nodes": 3}, "nodes"),
    ],
)
def test_a_bad_setting_is_one_line_before_anything_is_submitted(
    workflow: Start, resources: dict[str, Any], message: str
) -> None:
    w = workflow(**resources)
    done = subprocess.run(
        [shutil.which("python", path=w.environment["PATH"]) or "python", "-m", "slurm", STAGE],
        cwd=w.folder, env=w.environment, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert w.submissions() == 0
    assert list(w.folder.glob(".d2it/jobs/*")) == []
