"""All stages, and queued experiments, on a real SLURM of two nodes."""

import hashlib
import re
import time
from pathlib import Path

import pytest

from stages.stage import NAMES
from tests.slurm.cluster import Cluster
from tests.slurm.repository import LIMIT, wait_for
from tests.slurm.workflow import Workflow
from tests.smallest import Repository

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TWO_RANKS = {name: {"nodes": 2} for name in ("train_content", "sample", "fid")} | {
    name: {"tasks_per_node": 2} for name in ("train_dvae", "encode_latents", "train_grain")
}


def hashes(outputs: Path) -> dict[str, str]:
    files = sorted(p for p in outputs.rglob("*") if p.is_file() and p.name != ".gitignore")
    return {str(p.relative_to(outputs)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_two_ranks_on_the_cluster_give_the_bytes_of_one_process_and_moving_back_reruns_nothing(
    finished: Repository, cluster: Cluster, tmp_path: Path
) -> None:
    w = Workflow(tmp_path / "repository", finished.folder, cluster, TWO_RANKS)
    w.run("repro", "-f")
    assert hashes(w.folder / "outputs") == hashes(finished.folder / "outputs")
    assert w.submissions() == len(NAMES)
    assert re.findall(r"Running stage .(\w+)", w.run("repro", D2IT_CLUSTER="local")) == ["manifest"]
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_three_queued_experiments_two_at_a_time_each_have_their_parent_run_and_lose_nothing(
    finished: Repository, cluster: Cluster, tmp_path: Path
) -> None:
    w = Workflow(tmp_path / "repository", finished.folder, cluster, {})
    w.run("exp", "run", "--queue", "-S", "sample.guidance=1.0,2.0,3.0")
    w.start_queue(jobs=2)
    done = ("Success", "Failed")

    def all_done() -> bool:
        time.sleep(10)  # the question itself keeps a core busy for seconds
        return sum(w.run("queue", "status").count(word) for word in done) == 3

    wait_for(all_done, 10 * LIMIT)
    status = w.run("queue", "status")
    logs = [w.run("queue", "logs", line.split()[0]) for line in status.splitlines()[1:] if any(d in line for d in done)]
    assert status.count("Success") == 3, "\n".join(logs)
    assert not any("database is locked" in log for log in logs)
    runs = w.runs()
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len({run.data.tags["dvc.experiment"] for run in parents}) == 3
    assert len({run.data.params["sample.guidance"] for run in parents}) == 3
    for parent in parents:
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert sorted(run.info.run_name for run in children) == ["fid", "sample"]
        assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
        assert {run.data.tags["slurm.job_id"] for run in children} != {""}
    assert w.submissions() == 6
    assert list(w.folder.glob(".d2it/journal/*.jsonl")) == []
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_dvc_queue_kill_ends_the_job_after_it_has_saved(finished: Repository, cluster: Cluster, tmp_path: Path) -> None:
    """Forced: DVC has no time to ask the launcher, which sees by itself that it is gone."""
    w = Workflow(tmp_path / "repository", finished.folder, cluster, {})
    w.run("exp", "run", "--queue", "--name", "doomed", "-S", "content_transformer.images=320000")
    w.start_queue()
    w.wait_for_training()
    w.run("queue", "kill", "--force", "doomed")
    wait_for(lambda: not w.jobs(), 2 * LIMIT)
    wait_for(lambda: not w.ranks())
    (log,) = w.folder.glob(".d2it/logs/train_content-*/*_0_log.out")
    assert f"stopped after step {w.newest_step()} " in log.read_text()
