"""Two processes never work on the same stage's checkpoints at once."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.lock import alone
from tools.deps import ROOT

HOLD = """
import sys, time
sys.path.insert(0, {source!r})
from pathlib import Path
from pipeline.lock import alone
with alone(Path({root!r}), "sample", "one"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_waits_is_refused_in_one_line_and_is_free_when_the_first_ends_even_by_kill_9(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLD.format(source=str(ROOT), root=str(tmp_path))]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refusal = pytest.raises(StageError, match=r"^sample: runs already.*; wait for it, or end it$")
        with refusal as refused, alone(tmp_path, "sample", "one", patience=0.3):
            pytest.fail("two at once")
        assert "\n" not in str(refused.value)
        for stage, key in (("fid", "one"), ("sample", "two")):  # another stage or experiment is free
            with alone(tmp_path, stage, key):
                pass
        threading.Timer(0.3, holder.kill).start()
        with alone(tmp_path, "sample", "one", patience=30):
            assert holder.poll() is not None or holder.wait(5)
