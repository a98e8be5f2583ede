"""Jobs on this machine, each a real process: how they end, and that the launcher knows."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm import local
from slurm.job import Files

ROOT = Path(__file__).parents[2]
LIMIT = 30.0

# The launcher as a process of its own: `wait` on a job that runs a script.
WAITER = """
import runpy, sys
from pathlib import Path
from slurm import local
from slurm.job import Files
from slurm.launcher import Interrupt, wait
local.PATIENCE_SECONDS = float(sys.argv[2])
files = Files(Path("jobs"), "one")
with Interrupt() as interrupt:
    job = local.submit(files, runpy.run_path, sys.argv[1])
    Path("pid").write_text(str(job.process.pid))
    sys.exit(wait(job, "stage", files.progress, interrupt))
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "D2IT_CLUSTER"} | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Callable[..., "subprocess.Popen[str]"]:
    def start_waiter(script: str, patience: float = 20.0) -> "subprocess.Popen[str]":
        (tmp_path / "job.py").write_text(script)
        (tmp_path / "waiter.py").write_text(WAITER)
        return subprocess.Popen(
            [sys.executable, "waiter.py", "job.py", str(patience)],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    return start_waiter


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_that_ends_well_gives_exit_code_0_and_its_whole_log(
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    waiter = start("import sys\nprint('to stdout')\nprint('to stderr', file=sys.stderr)\nprint('no newline', end='')")
    out, err = waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 0
    assert err == ""
    assert out.splitlines()[1:] == ["to stdout", "to stderr", "no newline"]


def test_the_log_is_shown_while_the_job_still_runs(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    waiter = start("import pathlib, time\nprint('first')\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)")
    assert waiter.stdout is not None
    assert [waiter.stdout.readline(), waiter.stdout.readline()][1] == "first\n"
    (tmp_path / "go").touch()
    waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 0


def test_an_exception_gives_exit_code_1_with_the_traceback_the_log_and_the_job_id(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    waiter = start("raise RuntimeError('what went wrong')")
    out, err = waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 1
    assert "Traceback" in out
    assert "RuntimeError: what went wrong" in err
    assert "job one" in err
    log = tmp_path / "jobs" / "one_0_log.out"
    assert str(log) in err
    assert "RuntimeError: what went wrong" in log.read_text()


def test_a_users_error_is_one_line_and_exit_code_2(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    waiter = start("from stages.errors import StageError\nraise StageError('x = 3: must be 4')")
    out, _ = waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 2
    assert out.splitlines()[1:] == ["x = 3: must be 4"]


@pytest.mark.parametrize("end", ["import os; os._exit(3)", "raise SystemExit(3)"])
def test_a_job_that_ends_without_a_result_gives_its_own_exit_code(
    start: Callable[..., "subprocess.Popen[str]"], end: str
) -> None:
    waiter = start(end)
    _, err = waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 3
    assert "exit code 3" in err


def test_a_killed_job_is_named_and_takes_its_children_with_it(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    waiter = start(
        "import os, pathlib, subprocess, signal\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    _, err = waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 128 + signal.SIGKILL
    assert "SIGKILL" in err
    wait_for(lambda: not alive(int((tmp_path / "child").read_text())))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_stops_the_job_in_order(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, number: signal.Signals
) -> None:
    waiter = start(
        "import pathlib, time\n"
        "try:\n    pathlib.Path('up').touch()\n    time.sleep(60)\n"
        "finally:\n    pathlib.Path('saved').touch()"
    )
    wait_for((tmp_path / "up").exists)
    os.killpg(waiter.pid, number)  # as a terminal does
    _, err = waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 128 + number
    assert err.count("\n") == 1
    assert number.name in err
    assert (tmp_path / "saved").exists()
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_job_that_ignores_the_request_is_killed_after_a_while(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    waiter = start(
        "import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path('up').touch()\ntime.sleep(60)",
        patience=0.3,
    )
    wait_for((tmp_path / "up").exists)
    waiter.send_signal(signal.SIGINT)
    waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 128 + signal.SIGINT
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_second_ctrl_c_kills_a_job_that_takes_long_to_stop(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    waiter = start(
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path('asked').touch())\n"
        "pathlib.Path('up').touch()\nend = time.monotonic() + 60\nwhile time.monotonic() < end: time.sleep(0.1)",
        patience=60,
    )
    wait_for((tmp_path / "up").exists)
    waiter.send_signal(signal.SIGINT)
    wait_for((tmp_path / "asked").exists)
    waiter.send_signal(signal.SIGINT)
    waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 128 + signal.SIGINT
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_terminal_shows_the_bar_of_a_job_that_writes_to_a_log(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "waiter.py").write_text(WAITER)
    (tmp_path / "job.py").write_text(
        "import pathlib, time\nfrom d2it.progress import Progress\n"
        "with Progress(300, 'encode') as progress:\n    progress.update(100, {'loss': 0.5})\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.02)\n"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    waiter = subprocess.Popen(
        [sys.executable, "waiter.py", "job.py", "20"], cwd=tmp_path, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while b"100/300" not in shown or b"loss 0.5" not in shown:
        assert select.select([ours], [], [], LIMIT)[0], shown
        shown += os.read(ours, 4096)
    (tmp_path / "go").touch()
    assert waiter.wait(LIMIT) == 0
    os.close(ours)
    assert b"encode:" in shown
    assert b"img/s" in shown


def test_the_job_sees_the_gpus_that_the_launcher_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    job = local.submit(Files(tmp_path, "one"), os.system, "echo gpus $CUDA_VISIBLE_DEVICES")
    assert job.process.wait(LIMIT) == 0
    assert "gpus 3,5" in job.log.read_text()
