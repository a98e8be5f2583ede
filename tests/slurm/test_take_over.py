"""Who waits for a job of this machine, who takes its result, and what is left of one that nobody waited for."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.repository import LIMIT, STAGE, WRITES, Repository, alive, delivered, wait_for

pytestmark = pytest.mark.slow


def test_a_result_is_kept_though_the_stage_is_stopped_while_it_waits_for_mlflow(repository: Repository) -> None:
    repository.stage_is(
        f"{WRITES}\nwith ranks.stop.between_steps():\n    on_result()\n    (root / 'result').touch()\n"
        "    while not ranks.stop.asked: time.sleep(0.02)"
    )
    launcher = repository.start()
    wait_for((repository.folder / "result").exists)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=LIMIT)
    assert launcher.returncode == 128 + signal.SIGINT
    done = repository.run()
    assert "taking its result" in done.stdout
    assert delivered(repository.folder)
    assert len(repository.starts()) == 1


def test_a_job_that_fails_keeps_its_entry_until_the_stage_is_asked_for_again(repository: Repository) -> None:
    """What it left may show up late on a network file system."""
    repository.stage_is(f"if not (root / 'go').exists(): raise RuntimeError\n{WRITES}")
    assert repository.run().returncode == 1
    (entry,) = repository.entries()
    (out,) = entry.glob("tree/outputs/train_content")
    (out / "weights").write_text("good")
    (entry / "exit-1").rename(entry / "exit-0")
    assert repository.run().returncode == 0
    assert delivered(repository.folder)
    assert len(repository.starts()) == 1
    assert repository.entries() == []


def test_a_job_other_than_the_recorded_one_ends_itself(repository: Repository) -> None:
    """sbatch had timed out, and the controller took the job after the launcher had looked for it."""
    repository.stage_is("wait_for('never')")
    launcher = repository.start()
    repository.wait_for_starts()
    (entry,) = repository.entries()
    record = json.loads((entry / "submitted.json").read_text())
    (entry / "submitted.json").write_text(json.dumps(record | {"id": "another"}))
    _, err = launcher.communicate(timeout=LIMIT)
    assert launcher.returncode == 1
    assert "job another runs this stage: ending job" in err
    assert not alive(repository.starts()[0])


def test_a_process_that_has_the_id_of_a_job_that_failed_long_ago_is_left_alone(repository: Repository) -> None:
    repository.stage_is("raise RuntimeError")
    repository.run()
    (entry,) = repository.entries()
    record = json.loads((entry / "submitted.json").read_text())
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        record["ranks"] = [[other.pid, record["ranks"][0][1] - 3600]]
        (entry / "submitted.json").write_text(json.dumps(record))
        repository.stage_is(WRITES)
        assert repository.run().returncode == 0
        assert other.poll() is None
        other.kill()


def test_a_folder_that_a_killed_launcher_left_asks_no_slurm_about_a_local_stage(
    repository: Repository, tmp_path: Path
) -> None:
    repository.stage_is("raise RuntimeError")
    repository.run()
    (entry,) = repository.entries()
    (entry / "submitted.json").unlink()
    (entry / "exit-1").unlink()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "squeue").write_text("#!/bin/sh\nexit 1\n")  # installed, and there is no cluster
    (programs / "squeue").chmod(0o755)
    repository.stage_is(WRITES)
    done = repository.run(PATH=f"{programs}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")
    assert delivered(repository.folder)


def test_checkpoints_go_after_the_result_is_delivered(repository: Repository) -> None:
    scratch = "scratch = root / '.d2it' / 'scratch' / f'{name}-{key[:16]}'\nscratch.mkdir(parents=True, exist_ok=True)"
    repository.stage_is(f"{scratch}\n(scratch / 'checkpoint').touch()\n{WRITES}\nwait_for('go')")
    repository.abandon()
    repository.touch("go")
    wait_for(lambda: not alive(repository.starts()[0]))
    assert len(list(repository.folder.glob(".d2it/scratch/*/checkpoint"))) == 1
    assert repository.run().returncode == 0
    assert list(repository.folder.glob(".d2it/scratch/*")) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_launcher_that_is_lost_leaves_its_job_and_the_next_one_takes_it_over(
    repository: Repository, number: signal.Signals
) -> None:
    repository.stage_is(f"print('begun')\nwait_for('go')\n{WRITES}")
    launcher = repository.start()
    repository.wait_for_starts()
    launcher.send_signal(number)
    _, err = launcher.communicate(timeout=LIMIT)
    assert err.count("runs on") == (number == signal.SIGHUP)
    second = repository.start()
    assert second.stdout is not None
    assert "waiting for job" in second.stdout.readline()
    repository.touch("go")
    second.communicate(timeout=LIMIT)
    assert second.returncode == 0
    assert delivered(repository.folder)
    assert len(repository.starts()) == 1
    assert repository.entries() == []


def test_a_launcher_whose_dvc_is_killed_leaves_its_job(repository: Repository) -> None:
    repository.stage_is("wait_for('go')")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import subprocess, sys; subprocess.run(['sh', '-c', 'python -m slurm {STAGE}; true'])",
        ],
        cwd=repository.folder,
        env=repository.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    repository.wait_for_starts()
    parent.kill()
    assert parent.stderr is not None
    assert "dvc was killed; job" in parent.stderr.readline()
    parent.communicate(timeout=LIMIT)
    assert alive(repository.starts()[0])
    repository.touch("go")


def test_a_result_that_nobody_waited_for_is_taken_without_another_run(repository: Repository) -> None:
    repository.stage_is(f"wait_for('go')\n{WRITES}")
    repository.abandon()
    repository.touch("go")
    wait_for(lambda: not alive(repository.starts()[0]))
    done = repository.run()
    assert done.returncode == 0
    assert "has ended well: taking its result" in done.stdout
    assert delivered(repository.folder)
    assert len(repository.starts()) == 1


def test_a_job_that_died_while_nobody_waited_is_started_anew(repository: Repository) -> None:
    repository.stage_is(f"if not (root / 'go').exists(): wait_for('never')\n{WRITES}")
    repository.abandon()
    os.kill(repository.starts()[0], signal.SIGKILL)
    wait_for(lambda: not alive(repository.starts()[0]))
    repository.touch("go")
    done = repository.run()
    assert done.returncode == 0
    assert "starting anew" in done.stderr
    assert delivered(repository.folder)


def test_two_workspaces_that_ask_for_the_same_stage_share_one_job_and_both_get_its_outputs(
    repository: Repository,
) -> None:
    repository.stage_is(f"wait_for('go')\n{WRITES}")
    other = repository.copy(repository.folder / "copy")
    launchers = [repository.start(), repository.start(workspace=other)]
    for launcher in launchers:
        assert launcher.stdout is not None
        launcher.stdout.readline()
    repository.touch("go")
    for launcher in launchers:
        launcher.communicate(timeout=LIMIT)
        assert launcher.returncode == 0
    assert delivered(repository.folder)
    assert delivered(other)
    assert len(repository.starts()) == 1
    assert repository.entries() == []


def test_ctrl_c_does_not_end_a_job_that_another_launcher_waits_for(repository: Repository) -> None:
    repository.stage_is(f"wait_for('go')\n{WRITES}")
    other = repository.copy(repository.folder / "copy")
    first, second = repository.start(), repository.start(workspace=other)
    for launcher in (first, second):
        assert launcher.stdout is not None
        launcher.stdout.readline()
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=LIMIT)
    assert "runs on" in err
    repository.touch("go")
    second.communicate(timeout=LIMIT)
    assert second.returncode == 0
    assert delivered(other)


def test_other_params_are_another_job(repository: Repository) -> None:
    repository.stage_is(f"wait_for('go')\n{WRITES}")
    other = repository.copy(repository.folder / "copy")
    (other / "params.yaml").write_text((other / "params.yaml").read_text().replace("seed: 0", "seed: 1"))
    launchers = [repository.start(), repository.start(workspace=other)]
    repository.wait_for_starts(2)
    repository.touch("go")
    for launcher in launchers:
        launcher.communicate(timeout=LIMIT)
        assert launcher.returncode == 0
