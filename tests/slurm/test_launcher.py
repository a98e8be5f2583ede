"""Jobs on this machine, each of real processes: how they end, who finds them again, and what is delivered."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.slurm.repository import LIMIT, STAGE, Repository, alive, wait_for

WEIGHTS = Path("outputs", STAGE, "weights")
WRITES = "(out / 'weights').write_text('good')"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def delivered(workspace: Path) -> bool:
    return (workspace / WEIGHTS).exists() and (workspace / WEIGHTS).read_text() == "good"


def test_a_job_that_ends_well_delivers_its_outputs_shows_its_whole_log_and_leaves_no_entry(
    repository: Repository,
) -> None:
    repository.stage_is(
        f"{WRITES}\nprint('to stdout')\nprint('to stderr', file=sys.stderr)\nprint('no newline', end='')"
    )
    done = repository.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == ["to stdout", "to stderr", "no newline"]
    assert delivered(repository.folder)
    assert repository.entries() == []


def test_the_log_is_shown_while_the_job_still_runs(repository: Repository) -> None:
    repository.stage_is("print('first')\nwait_for('go')")
    launcher = repository.start()
    assert launcher.stdout is not None
    assert [launcher.stdout.readline() for _ in range(3)][2] == "first\n"
    repository.touch("go")
    launcher.communicate(timeout=LIMIT)
    assert launcher.returncode == 0


def test_an_exception_gives_exit_code_1_with_the_traceback_the_log_and_the_job_and_delivers_nothing(
    repository: Repository,
) -> None:
    (repository.folder / WEIGHTS).parent.mkdir()
    repository.stage_is("(out / 'weights').write_text('half')\nraise RuntimeError('what went wrong')")
    done = repository.run()
    assert done.returncode == 1
    assert "Traceback" in done.stdout
    assert "RuntimeError: what went wrong" in done.stderr
    (log,) = repository.folder.glob(".d2it/logs/*/*_0_log.out")
    assert str(log) in done.stderr
    assert f"job {log.name.partition('_')[0]}" in done.stderr
    assert "RuntimeError: what went wrong" in log.read_text()
    assert not (repository.folder / WEIGHTS).exists()


def test_a_users_error_is_one_line_and_exit_code_2(repository: Repository) -> None:
    repository.stage_is("raise StageError('x = 3: must be 4')")
    done = repository.run()
    assert done.returncode == 2
    assert done.stdout.splitlines()[2:] == ["x = 3: must be 4"]


def test_a_job_that_ends_without_output_gives_its_own_exit_code(repository: Repository) -> None:
    repository.stage_is("os._exit(3)")
    done = repository.run()
    assert done.returncode == 3
    assert "exit code 3" in done.stderr


def test_a_killed_job_is_named_and_takes_its_children_with_it(repository: Repository) -> None:
    repository.stage_is(
        "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        "(root / 'child').write_text(str(child.pid))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = repository.run()
    assert done.returncode == 128 + signal.SIGKILL
    assert "SIGKILL" in done.stderr
    wait_for(lambda: not alive(int((repository.folder / "child").read_text())))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_stops_the_job_after_it_has_saved(
    repository: Repository, number: signal.Signals
) -> None:
    repository.stage_is(
        "with ranks.stop.between_steps():\n    wait_for_stop = [time.sleep(0.01) for _ in iter(lambda: "
        "ranks.stop.asked, signal.SIGTERM)]\n(root / 'saved').touch()\nfrom d2it.ranks.stopping import Stopped\n"
        "raise Stopped(ranks.stop.asked)"
    )
    launcher = repository.start()
    repository.wait_for_starts()
    os.killpg(launcher.pid, number)  # as a terminal does
    _, err = launcher.communicate(timeout=LIMIT)
    assert launcher.returncode == 128 + number
    assert err.count("\n") == 1
    assert number.name in err
    assert (repository.folder / "saved").exists()
    assert not alive(repository.starts()[0])


def test_a_second_ctrl_c_kills_a_job_that_takes_long_to_stop(repository: Repository) -> None:
    repository.stage_is(
        "signal.signal(signal.SIGTERM, lambda *_: (root / 'asked').touch())\n(root / 'up').touch()\nwait_for('never')"
    )
    launcher = repository.start()
    wait_for((repository.folder / "up").exists)
    launcher.send_signal(signal.SIGINT)
    wait_for((repository.folder / "asked").exists)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=LIMIT)
    assert launcher.returncode == 128 + signal.SIGINT
    assert not alive(repository.starts()[0])


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15])
def test_two_ctrl_c_within_one_look_at_the_job_stop_it_without_a_traceback(
    repository: Repository, seconds: float
) -> None:
    repository.stage_is("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n(root / 'up').touch()\nwait_for('never')")
    launcher = repository.start()
    wait_for((repository.folder / "up").exists)
    launcher.send_signal(signal.SIGINT)
    time.sleep(seconds)
    launcher.send_signal(signal.SIGINT)
    _, err = launcher.communicate(timeout=LIMIT)
    assert launcher.returncode == 128 + signal.SIGINT
    assert "Traceback" not in err
    assert not alive(repository.starts()[0])


def test_a_result_is_kept_though_the_stage_is_stopped_while_it_waits_for_mlflow(repository: Repository) -> None:
    repository.stage_is(
        f"{WRITES}\nwith ranks.stop.between_steps():\n    on_result()\n    (root / 'result').touch()\n"
        "    wait_for('go')"
    )
    launcher = repository.start()
    wait_for((repository.folder / "result").exists)
    launcher.send_signal(signal.SIGINT)
    repository.touch("go")
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
    launcher = repository.start()
    repository.wait_for_starts()
    launcher.kill()
    launcher.communicate()
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
    launcher = repository.start()
    repository.wait_for_starts()
    launcher.kill()
    launcher.communicate()
    repository.touch("go")
    wait_for(lambda: not alive(repository.starts()[0]))
    done = repository.run()
    assert done.returncode == 0
    assert "has ended well: taking its result" in done.stdout
    assert delivered(repository.folder)
    assert len(repository.starts()) == 1


def test_a_job_that_died_while_nobody_waited_is_started_anew(repository: Repository) -> None:
    repository.stage_is(f"if not (root / 'go').exists(): wait_for('never')\n{WRITES}")
    launcher = repository.start()
    repository.wait_for_starts()
    launcher.kill()
    launcher.communicate()
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


def test_what_is_edited_while_a_job_waits_changes_nothing_for_it(repository: Repository) -> None:
    repository.stage_is(
        "wait_for('go')\nfrom d2it.params.load import load_params\nfrom pipeline.dag import definition\n"
        "import d2it.seeds\nread = [load_params().seed, definition('prepare').cmd, 'edited' in dir(d2it.seeds), "
        "pathlib.Path('outputs/prepare/data').read_text()]\n(out / 'weights').write_text(repr(read))"
    )
    launcher = repository.start()
    repository.wait_for_starts()
    folder = repository.folder
    for path, edited in (
        (folder / "params.yaml", (folder / "params.yaml").read_text().replace("seed: 0", "seed: 5")),
        (folder / "dvc.yaml", (folder / "dvc.yaml").read_text().replace("cmd: x", "cmd: y")),
        (folder / "d2it" / "seeds.py", "edited = True"),
        (folder / "outputs" / "prepare" / "data", "edited"),
    ):
        path.unlink()  # as DVC and editors do
        path.write_text(edited)
    repository.touch("go")
    launcher.communicate(timeout=LIMIT)
    assert (folder / WEIGHTS).read_text() == "[0, 'x', False, 'input']"


def test_ranks_of_a_local_job_know_each_other(repository: Repository) -> None:
    repository.stage_is(
        "import torch\ntotal = int(ranks.sum(torch.tensor(ranks.rank + 1)))\n"
        "if ranks.rank == 0: (out / 'weights').write_text(f'{total} of {ranks.size}')\nranks.barrier()"
    )
    assert repository.run(D2IT_RANKS="2").returncode == 0
    assert (repository.folder / WEIGHTS).read_text() == "3 of 2"


def test_a_rank_that_fails_is_named_with_its_own_log_and_takes_the_others_with_it(repository: Repository) -> None:
    repository.stage_is("if ranks.rank: raise RuntimeError('rank one has no disk')\nwait_for('never')")
    done = repository.run(D2IT_RANKS="2")
    assert done.returncode == 1
    assert "of rank 1" in done.stderr
    assert "RuntimeError: rank one has no disk" in done.stderr
    assert not any(map(alive, repository.starts()))


def test_ranks_that_cannot_share_a_step_are_refused_in_one_line_before_anything_starts(repository: Repository) -> None:
    done = repository.run(D2IT_RANKS="3")
    assert done.returncode == 2
    assert done.stderr == (
        "D2IT_RANKS = 3: cannot share out the 2 micro-batches of a step (batch_size 16 / micro_batch 8): "
        "must divide them\n"
    )
    assert repository.starts() == []
    assert repository.entries() == []


def test_a_terminal_shows_the_bar_of_a_job_that_writes_to_a_log(repository: Repository) -> None:
    repository.stage_is(
        "from d2it.progress import Progress\nwith Progress(300, 'encode') as progress:\n"
        "    progress.update(100, {'loss': 0.5})\n    wait_for('go')"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    launcher = subprocess.Popen(
        [sys.executable, "-m", "slurm", STAGE],
        cwd=repository.folder, env=repository.environment, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"100/300" not in shown or b"loss 0.5" not in shown:
        assert select.select([ours], [], [], LIMIT)[0], shown
        shown += os.read(ours, 4096)
    repository.touch("go")
    assert launcher.wait(LIMIT) == 0
    os.close(ours)
    assert b"encode:" in shown
    assert b"img/s" in shown


@pytest.mark.parametrize("before", ["its first line", "a line of the log"])
def test_a_lost_terminal_leaves_the_job_running(repository: Repository, before: str) -> None:
    repository.stage_is(f"wait_for('closed')\nprint('a line that nobody can read')\nwait_for('go')\n{WRITES}")
    launcher = repository.start()
    if before == "a line of the log":
        repository.wait_for_starts()
    assert launcher.stdout is not None
    assert launcher.stderr is not None
    launcher.stdout.close()
    launcher.stderr.close()
    repository.wait_for_starts()
    repository.touch("closed")
    assert launcher.wait(LIMIT) == 128 + signal.SIGHUP
    assert alive(repository.starts()[0])
    repository.touch("go")
    assert repository.run().returncode == 0
    assert len(repository.starts()) == 1


def test_the_job_sees_the_gpus_that_the_launcher_sees(repository: Repository) -> None:
    repository.stage_is("print('gpus', os.environ['CUDA_VISIBLE_DEVICES'])")
    assert "gpus 3,5" in repository.run(CUDA_VISIBLE_DEVICES="3,5").stdout
