"""Submitting to a real SLURM whose sbatch, queue or file system misbehaves: one job, and nothing thrown away."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.cluster import Resources
from slurm.ledger import Entry
from slurm.queue import parse_squeue
from slurm.submission import submit
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import Start
from tests.slurm.repository import LIMIT, wait_for
from tests.slurm.workflow import STAGE, Workflow

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
LATE = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
FULL = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
QOS = "sbatch: error: QOSMaxSubmitJobPerUserLimit"


def sbatch_does(w: Workflow, lines: str) -> None:
    """Replace sbatch; `real` in the lines is SLURM's own with all arguments, `$number` counts the calls from 1."""
    count = 'echo "$@" >> "$D2IT_SUBMITTED"\nnumber=$(wc -l < "$D2IT_SUBMITTED")'
    script = f"#!/bin/sh\n{count}\n{lines}\n".replace("real", f'{shutil.which("sbatch")} "$@"')
    (w.programs / "sbatch").write_text(script)


def jobs_ever(w: Workflow) -> int:
    """Jobs of this repository that SLURM has taken, the ended included; it remembers them for minutes."""
    text = w.cluster.run("squeue", "--states=all", "--noheader", "--format=%i|%T|%r|%N|%Z")
    return sum(str(w.folder) in job.folder for job in parse_squeue(text).values())


def test_a_job_that_was_accepted_though_sbatch_timed_out_is_the_one_that_is_waited_for(
    workflow: Start, undisturbed: str
) -> None:
    w = workflow()
    sbatch_does(w, f"real; echo '{LATE}' >&2; exit 1")
    assert "Socket timed out" in w.run()
    assert (w.submissions(), jobs_ever(w)) == (1, 1)
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_a_full_queue_is_waited_for_with_one_line_for_each_reason(workflow: Start, undisturbed: str) -> None:
    """The cluster's, and then the user's own share of it."""
    w = workflow()
    sbatch_does(w, f"case $number in 1|2) echo '{FULL}' >&2; exit 1;; 3) echo '{QOS}' >&2; exit 1;; esac; real")
    assert w.run().count("trying again for up to 6 h") == 2
    assert (w.submissions(), jobs_ever(w)) == (4, 1)
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_an_sbatch_whose_launcher_is_killed_submits_nothing_afterwards(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    sbatch_does(w, "sleep 5; real")
    dvc = w.start()
    wait_for(lambda: w.submissions() == 1)
    os.killpg(dvc.pid, signal.SIGKILL)
    dvc.wait(LIMIT)
    sbatch_does(w, "real")
    w.run()
    assert jobs_ever(w) == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


@pytest.mark.exhaustive
def test_settings_of_the_site_and_the_user_change_nothing(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    settings = {
        "SBATCH_EXPORT": "NONE", "SBATCH_TIMELIMIT": "1", "SBATCH_PARTITION": "high", "SQUEUE_PARTITION": "high",
        "SQUEUE_STATES": "PENDING", "SQUEUE_FORMAT": "%i", "SCONTROL_ONE_LINER": "1", "LOGNAME": "nobody",
        "USER": "nobody", "SLURM_TIME_FORMAT": "%s", "SLURM_EXPORT_ENV": "NONE", "SLURM_JOB_ID": "4711",
    }  # fmt: skip
    w.run(**settings)
    assert (w.submissions(), jobs_ever(w)) == (1, 1)
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


def test_a_rank_without_slurms_programs_has_its_job_requeued_by_the_script_around_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container; the rank is a program that leaves the request at its first start."""
    entry, python, starts = Entry(tmp_path, STAGE, "0" * 64), tmp_path / "python", tmp_path / "starts"
    entry.tree.mkdir(parents=True)
    entry.files.logs.mkdir(parents=True)
    first = f'[ -n "$SLURM_RESTART_COUNT" ] || {{ touch {entry.files.requeue}; exit 140; }}'
    python.write_text(f'#!/bin/sh\necho "$@" >> {starts}\n{first}\n')
    python.chmod(0o755)
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    job_id = submit(entry, Resources(python=str(python), mem_gb=1), lambda: None)
    wait_for(lambda: starts.exists() and len(starts.read_text().splitlines()) == 2)
    wait_for(lambda: job_id not in cluster.run("squeue", "--noheader", "--format=%i").split())
    assert starts.read_text() == 2 * f"-u -m slurm.worker {entry.folder} {entry.files.logs}\n"
    assert not entry.files.requeue.exists()


@pytest.fixture
def behind_a_cache(tmp_path: Path) -> list[str]:
    """The start of a command that sees the test's folder as over NFS: for 30 s it remembers what was not there."""
    if shutil.which("bindfs") is None:
        pytest.skip("needs bindfs; Debian package bindfs")
    mount = f"bindfs -o negative_timeout=30,attr_timeout=30,entry_timeout=30 {tmp_path} {tmp_path}"
    command = ["unshare", "--mount", "sh", "-c", f'{mount} && cd "$PWD" && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount with bindfs: no right to do so here")
    return command


def test_a_result_that_a_file_system_shows_late_is_taken_and_not_thrown_away(
    workflow: Start, undisturbed: str, behind_a_cache: list[str]
) -> None:
    w = workflow()
    command = [*behind_a_cache, sys.executable, "-m", "dvc", "repro", "-f", "-s", STAGE]
    done = subprocess.run(
        command, cwd=w.folder, env=w.environment, capture_output=True, text=True, timeout=2 * LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (w.submissions(), jobs_ever(w)) == (1, 1)
    assert w.weights() == undisturbed
