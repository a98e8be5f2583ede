"""Progress: a bar on a terminal, lines in a log, and a bar in another process."""

import io
import os
import pty
import select
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import d2it.progress
from d2it.progress import Mirror, Progress, State, is_line, line

ROOT = Path(__file__).parents[1]
WORK = """
from d2it.progress import Progress
with Progress(80, "train", start=20) as progress:
    for i in range(6):
        progress.update(10, {"loss": 1 / (i + 1)})
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that moves when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(d2it.progress, "monotonic", clock)
    monkeypatch.delenv("D2IT_PROGRESS", raising=False)
    return clock


def test_a_real_terminal_shows_a_bar_with_speed_time_left_and_numbers() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    work = subprocess.Popen([sys.executable, "-c", WORK], cwd=ROOT, stderr=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while select.select([ours], [], [], 30)[0] and (part := os.read(ours, 4096)):
            shown += part
    except OSError:  # Linux says so when the other side is closed
        pass
    os.close(ours)
    assert work.wait(30) == 0
    assert b"train:" in shown
    assert b"80/80" in shown
    assert b"img/s" in shown
    assert b"\r" in shown


def test_a_log_shows_no_bar_but_a_line_at_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("train: 80/80 img (100%), ")
    assert done.stderr.endswith("00:00 left, loss 0.1667\n")


def test_a_log_gets_a_line_every_30_seconds_with_speed_and_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(1000, "sample", start=100) as progress:
        for _ in range(90):
            clock.now += 1
            progress.update(5, {"fine": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "sample: 250/1000 img (25%), 5.0 img/s, 02:30 left, fine 0.5",
        "sample: 400/1000 img (40%), 5.0 img/s, 02:00 left, fine 0.5",
        "sample: 550/1000 img (55%), 5.0 img/s, 01:30 left, fine 0.5",
        "sample: 550/1000 img (55%), 5.0 img/s, 01:30 left, fine 0.5",
    ]


def test_work_of_nothing_and_work_that_takes_no_time_are_no_error(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(0, "empty"):
        pass
    assert clock.now == 1000.0
    assert capsys.readouterr().err == "empty: 0 img, 0.0 img/s\n"


@pytest.mark.parametrize("label", ["train_dvae", "manifest: contents"])
@pytest.mark.parametrize("total", [0, 7000])
@pytest.mark.parametrize("seconds", [0.0, 12.5])
@pytest.mark.parametrize("shown", ["", "loss 0.25, mse 1e-05"])
def test_a_line_of_progress_is_known_as_one(label: str, total: int, seconds: float, shown: str) -> None:
    state = State(label=label, unit="files", total=total, start=0, done=3500, shown=shown)
    assert is_line(line(state, seconds))


@pytest.mark.parametrize(
    "text",
    ["train: going on from step 3 (48 images)", "fid: job 7, running; log x", "result: kid 0.1452, precision 0.3", ""],
)
def test_other_lines_of_a_log_are_no_progress(text: str) -> None:
    assert not is_line(text)


def test_another_process_draws_the_bar_from_the_file(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "progress"
    monkeypatch.setenv("D2IT_PROGRESS", str(file))
    mirror = Mirror(file)
    terminal = Terminal()

    def shown() -> str:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            mirror.poll()
        return terminal.getvalue()

    assert shown() == ""
    with Progress(100, "encode") as progress:
        progress.update(30, {"ratio": 0.25})
        assert "30/100" in shown()
        assert "ratio 0.25" in shown()
        progress.update(1)  # at the same moment: not written
        assert "31/100" not in shown()
        clock.now += 1
        progress.update(1)
        assert "32/100" in shown()
    with Progress(7, "next"):
        pass
    assert "0/7" in shown()
    mirror.close()


def test_a_file_that_cannot_be_written_does_not_stop_the_work(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("D2IT_PROGRESS", str(tmp_path / "gone" / "progress"))
    with Progress(2, "work") as progress:
        clock.now += 1
        progress.update(2)
    assert "2/2" in capsys.readouterr().err
