"""Numbers of this job's own processes."""

import subprocess
import sys
import time

import pytest

from tracking.system import Usage

BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


def test_busy_child_counts_and_a_stranger_does_not() -> None:
    usage = Usage(0)
    stranger = subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{BUSY}' & echo $!"], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    pid = int(stranger.stdout.readline())  # its parent has ended: it is nobody's child
    stranger.wait()
    try:
        usage.sample()
        time.sleep(0.3)
        alone = usage.sample()["system/cpu_percent"]
        with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
            usage.sample()
            time.sleep(0.5)
            busy = usage.sample()
            child.kill()
    finally:
        subprocess.run(["kill", str(pid)], check=True)
    assert alone < busy["system/cpu_percent"]
    assert alone < 10


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
