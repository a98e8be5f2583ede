"""A wish to end reaches a process wherever it is."""

import subprocess
import sys

import pytest

LOSES = """
import os, signal, time, weakref
from d2it.ranks.stopping import Stop, stop_again_where_lost

stop = Stop()
stop_again_where_lost(stop)
signal.signal(signal.SIGTERM, lambda number, _: stop.ask(number))

class Thing:
    {method}

thing = Thing()
{watch}
del thing
print("went on", flush=True)
time.sleep(20)
"""
KILL = "os.kill(os.getpid(), signal.SIGTERM)"


@pytest.mark.parametrize(
    ("method", "watch"),
    [("pass", f"watch = weakref.ref(thing, lambda _: {KILL})"), (f"def __del__(self): {KILL}", "")],
    ids=["callback of a weak reference", "destructor"],
)
def test_a_signal_where_python_drops_exceptions_ends_the_process_all_the_same(method: str, watch: str) -> None:
    program = LOSES.format(method=method, watch=watch)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15)
    assert done.stdout == "went on\n", done.stderr
    assert done.returncode == 128 + 15
