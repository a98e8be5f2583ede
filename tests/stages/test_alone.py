"""Two processes never write a stage's outputs at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.alone import alone
from stages.errors import StageError
from tests.imports import ROOT

HOLD = """
import sys, time
sys.path.insert(0, {source!r})
from pathlib import Path
from stages.alone import alone
with alone(Path({root!r}), "sample"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_in_one_line_until_the_first_ends_even_by_kill_9(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", HOLD.format(source=str(ROOT), root=str(tmp_path))]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = pytest.raises(StageError, match=r"^sample: runs already in .*; wait for it, or end that job")
        with told as refused, alone(tmp_path, "sample"):
            pytest.fail("two at once")
        assert "\n" not in str(refused.value)
        with alone(tmp_path, "fid"):
            pass  # another stage is free
        holder.kill()
    with alone(tmp_path, "sample"):
        pass


def test_another_workspace_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with alone(tmp_path, "sample"):
        monkeypatch.chdir(tmp_path / "b")
        with alone(tmp_path, "sample"):
            pass
