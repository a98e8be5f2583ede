"""Jobs on this machine, each of real processes: how they end, and what is delivered."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress

import pytest

from d2it.threads import SPINS
from tests.slurm.repository import LIMIT, STAGE, WEIGHTS, WRITES, Repository, alive, delivered, wait_for

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_an_input_that_dvc_has_not_recorded_so_ends_the_job_in_one_line(repository: Repository, ranks: str) -> None:
    """After the ranks have met: reading a large data set takes longer than they wait for each other."""
    outs = f"[{{path: outputs/prepare/data, md5: {'0' * 32}}}]"
    (repository.folder / "dvc.lock").write_text(f"schema: '2.0'\nstages: {{prepare: {{cmd: x, outs: {outs}}}}}\n")
    repository.stage_is(f"if ranks.rank: wait_for('never')\n{WRITES}")
    done = repository.run(D2IT_RANKS=ranks)
    assert done.returncode == 2
    (line,) = [line for line in done.stdout.splitlines() if "is not what dvc.lock records" in line]
    assert line.startswith("outputs/prepare/data: ")
    assert not delivered(repository.folder)


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


@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.15])
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
    assert done.stderr == ("D2IT_RANKS = 3: cannot share out batch_size = 16: must divide it\n")
    assert repository.starts() == []
    assert repository.entries() == []


def test_a_terminal_shows_the_bar_of_a_job_that_writes_to_a_log(repository: Repository) -> None:
    repository.stage_is(
        "from d2it.progress import Progress\nwith Progress(300, 'encode') as progress:\n"
        "    progress.update(100, {'loss': 0.5})\n    wait_for('go')\nprint('another line')"
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
    with suppress(OSError):  # Linux says so when the other side is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert b"encode:" in shown
    assert b"img/s" in shown
    assert b"another line" in shown
    (log,) = repository.folder.glob(".d2it/logs/*/*_0_log.out")
    assert "encode: 100/300 img (33%), " in log.read_text()
    assert b"100/300 img (33%)" not in shown, "the log's line, which the bar stands for"


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


def test_inside_an_allocation_a_job_on_this_machine_is_none_of_slurms(repository: Repository) -> None:
    repository.stage_is("print('settings', sorted(name for name in os.environ if name.startswith('SLURM_')))")
    allocation = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "64", "SLURM_RESTART_COUNT": "1"}
    assert "settings []" in repository.run(**allocation).stdout


def test_ranks_of_a_job_on_this_machine_share_its_cores_and_wait_briefly(repository: Repository) -> None:
    repository.stage_is("import torch\nprint('threads', torch.get_num_threads(), os.environ['GOMP_SPINCOUNT'])")
    del repository.environment["OMP_NUM_THREADS"]
    for ranks in (1, 2):
        seen = repository.run(D2IT_RANKS=str(ranks)).stdout.split()
        at = seen.index("threads")
        assert int(seen[at + 1]) <= max(1, len(os.sched_getaffinity(0)) // ranks)
        assert seen[at + 2] == SPINS
        shutil.rmtree(repository.folder / ".d2it" / "delivered")
