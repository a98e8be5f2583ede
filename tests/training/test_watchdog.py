"""A training that hangs shows where, and ends; one that is merely slow goes on."""

import subprocess
import sys
import threading
import time

import pytest

from d2it.errors import UserError
from d2it.ranks.stopping import HUNG
from d2it.training.watchdog import MULTIPLE, Watchdog
from tools.deps import ROOT

HANGS = """
import os, threading
os.environ["D2IT_HANG_SECONDS"] = "0.3"
from d2it.ranks.stopping import Stop
from d2it.training.watchdog import Watchdog
def a_lock_that_nobody_frees():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
with Watchdog("train", Stop().hung) as watchdog:
    watchdog.step()
    a_lock_that_nobody_frees()
"""


def test_a_hang_ends_the_process_with_its_own_code_and_shows_the_stack() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == HUNG
    assert "train: no step for" in done.stderr
    assert "in a_lock_that_nobody_frees" in done.stderr


def test_the_limit_is_a_multiple_of_the_median_step_but_not_below_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("D2IT_HANG_SECONDS", "0.5")
    watchdog = Watchdog("train", lambda: None)
    assert watchdog.limit == 0.5
    for seconds in (0.1, 0.1, 60.0):
        watchdog._newest = time.monotonic() - seconds
        watchdog.step()
    assert watchdog.limit == pytest.approx(0.1 * MULTIPLE, rel=0.1)


def test_steps_and_the_end_of_training_keep_it_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D2IT_HANG_SECONDS", "2")
    hung = threading.Event()
    with Watchdog("train", hung.set) as watchdog:
        for _ in range(30):
            time.sleep(0.1)
            watchdog.step()
    assert not hung.wait(2.5)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_no_time_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("D2IT_HANG_SECONDS", given)
    with pytest.raises(UserError, match=r"^D2IT_HANG_SECONDS = .*: must be a number of seconds above 0$"):
        Watchdog("train", lambda: None)
