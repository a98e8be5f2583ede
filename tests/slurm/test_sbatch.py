"""What the launcher believes of a job: SLURM's programs are scripts here, which say what a test wants."""

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm import queue
from slurm.interrupt import AbandonedError
from slurm.job import Files
from slurm.queue import Answer, newest_answer
from slurm.sbatch import SlurmJob

NO_JOB = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
NO_ANSWER = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first folder on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("slurm.sbatch.GRACE_SECONDS", 0.0)
    monkeypatch.setattr("slurm.sbatch.ASK_SECONDS", 0.0)
    return folder


def answers(folder: Path, **lines: str) -> None:
    """Replace SLURM's programs."""
    for name, script in lines.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)


@pytest.fixture
def job(tmp_path: Path) -> SlurmJob:
    (tmp_path / "entry").mkdir()
    (tmp_path / ".d2it").mkdir()
    return SlurmJob(id="7", root=tmp_path, files=Files(tmp_path / "entry", tmp_path / "logs"))


def never() -> None:
    """Nobody ends the waiting."""


def soon(seconds: float = 2.0) -> Callable[[], None]:
    """Ends the waiting after a while."""
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > deadline:
            raise AbandonedError

    return check


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "RESV_DEL_HOLD"])
def test_a_job_that_squeue_leaves_out_lives_if_the_controller_knows_it(
    programs: Path, job: SlurmJob, state: str
) -> None:
    answers(programs, squeue="exit 0", scontrol=f"echo JobId=7 JobState={state} ExitCode=0:0")
    assert job.poll_now(never) is None
    assert job.state == state


def test_a_job_that_nobody_knows_is_over_unless_it_has_left_its_result(programs: Path, job: SlurmJob) -> None:
    answers(programs, squeue="exit 0", scontrol=NO_JOB, sacct="exit 1")
    assert job.poll_now(never) == 1
    job.files.end(0)
    assert job.poll_now(never) == 0


def test_where_the_controller_has_forgotten_a_job_the_accounting_tells_how_it_ended(
    programs: Path, job: SlurmJob
) -> None:
    answers(programs, squeue="exit 0", scontrol=NO_JOB, sacct="echo 'OUT_OF_MEMORY|0:9'")
    assert job.poll_now(never) == 137


def test_no_answer_is_no_answer(programs: Path, job: SlurmJob, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(programs, squeue="exit 0", scontrol=NO_ANSWER)
    with pytest.raises(AbandonedError):
        job.poll_now(soon())
    answers(programs, squeue=NO_ANSWER)
    monkeypatch.setattr("slurm.sbatch.ASK_SECONDS", 0.1)
    with pytest.raises(AbandonedError):
        job.poll_now(soon())


def test_a_job_that_completed_is_waited_for_until_its_result_shows(
    programs: Path, job: SlurmJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed = "echo JobId=7 JobState=COMPLETED ExitCode=0:0"
    late = f"[ $(date +%s) -gt {int(time.time()) + 2} ] && touch {job.files.folder}/exit-0"
    answers(programs, squeue="exit 0", scontrol=f"{late}; {completed}")
    assert job.poll_now(never) == 0
    (job.files.folder / "exit-0").unlink()
    monkeypatch.setattr("slurm.sbatch.OUTPUT_SECONDS", 1.0)
    answers(programs, scontrol=completed)
    assert job.poll_now(never) == 1
    assert job.state == "COMPLETED, but it has left no result"


def test_a_job_whose_daemon_died_is_cancelled_once_its_result_is_taken(
    programs: Path, job: SlurmJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("slurm.sbatch.LEAVE_SECONDS", 0.0)
    answers(programs, squeue="echo '7|RUNNING|None|n1|/tree'", scancel=f'echo "$@" >> {tmp_path}/cancelled')
    job.files.end(0)
    job.poll_now(never)
    assert job.poll_now(never) == 0
    job.cancel()
    assert (tmp_path / "cancelled").read_text() == "7\n"


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_the_answer_of_a_clock_that_is_ahead_or_old_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    (tmp_path / ".d2it").mkdir()
    path = tmp_path / ".d2it" / "queue.json"
    path.write_text(json.dumps({"time": time.time() + ahead, "jobs": {}}))
    fresh = Answer(time.time(), None)
    monkeypatch.setattr(queue, "ask", lambda: fresh)
    assert newest_answer(tmp_path) == fresh
