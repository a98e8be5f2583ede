"""Two processes never work on the same stage's checkpoints at once."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.lock import alone, locked, shared
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
        refusal = pytest.raises(
            StageError,
            match=r"^sample: runs already.*: wait for it, or end it; if its node is dead .* remove the file$",
        )
        with refusal as refused, alone(tmp_path, "sample", "one", patience=0.3):
            pytest.fail("two at once")
        assert "\n" not in str(refused.value)
        for stage, key in (("fid", "one"), ("sample", "two")):  # another stage or experiment is free
            with alone(tmp_path, stage, key):
                pass
        threading.Timer(0.3, holder.kill).start()
        with alone(tmp_path, "sample", "one", patience=30):
            assert holder.poll() is not None or holder.wait(5)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF])
@pytest.mark.parametrize("take", [lambda path: locked(path, seconds=1, refusal="held"), shared])
def test_a_file_system_without_locks_is_one_line_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, take: Callable[[Path], AbstractContextManager[object]]
) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", no_lock)
    with pytest.raises(StageError, match="the file system has no locks") as error, take(tmp_path / "lock"):
        pytest.fail("no lock is held")
    assert "\n" not in str(error.value)
    assert "python -m slurm doctor" in str(error.value)


def test_a_shared_lock_knows_whether_it_is_the_only_one(tmp_path: Path) -> None:
    with shared(tmp_path / "waiters") as first:
        with shared(tmp_path / "waiters") as second:
            assert not first.is_only()
            assert not second.is_only()
        assert first.is_only()


def test_a_shared_lock_can_be_read_as_nfs_asks(tmp_path: Path) -> None:
    with shared(tmp_path / "waiters") as lock:
        assert lock.file.readable()
