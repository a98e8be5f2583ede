"""Numbers of this job's own processes."""

import itertools
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from tracking import system
from tracking.system import Usage

BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


def test_busy_child_counts_and_a_stranger_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()  # one between two samples, so that a percent is 10 ms of CPU, however busy the machine
    monkeypatch.setattr(system, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    usage = Usage(0)
    stranger = subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{BUSY}' & echo $!"], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    pid = int(stranger.stdout.readline())  # its parent has ended: it is nobody's child
    stranger.wait()
    try:
        usage.sample()
        own = time.process_time()
        wait_until_spent(pid)
        alone = usage.sample()["system/cpu_percent"]
        own = time.process_time() - own
        with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
            wait_until_spent(child.pid)
            busy = usage.sample()["system/cpu_percent"]
            child.kill()
    finally:
        subprocess.run(["kill", str(pid)], check=True)
    assert alone < 100 * own + 50  # half of what the stranger has spent
    assert busy >= 100


def wait_until_spent(pid: int) -> None:
    """Return when process `pid` has spent one more second of CPU; for at most a minute."""
    process, deadline = psutil.Process(pid), time.monotonic() + 60
    end = process.cpu_times().user + 1
    while process.cpu_times().user < end:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_memory_of_children_counts() -> None:
    usage = Usage(0)
    before = usage.sample()["system/memory_megabytes"]
    code = "x = bytearray(200_000_000); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = usage.sample()["system/memory_megabytes"]
        child.kill()
    assert during - before > 190
    assert usage.sample()["system/memory_megabytes"] == pytest.approx(before, abs=50)
