"""A process computes on the cores that it may use, and its threads do not spin where others want them."""

import os
import subprocess
import sys

import pytest

from d2it.threads import SPINS

CORES = "from d2it.threads import usable_cores; print(usable_cores())"
SHOWN = "from d2it.threads import *; spin_briefly(); import torch"


def run(code: str, *before: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [*before, sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def test_cores_that_the_process_may_not_run_on_do_not_count() -> None:
    assert run(f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {CORES}").stdout == "1\n"


def test_cores_beyond_a_containers_quota_do_not_count() -> None:
    groups = "mount -t tmpfs none /sys/fs/cgroup && echo '100000 100000' > /sys/fs/cgroup/cpu.max && exec \"$@\""
    inside = ("unshare", "--mount", "sh", "-c", groups, "sh")
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    assert run(CORES, *inside).stdout == "1\n"


def test_openmp_takes_the_shorter_waiting() -> None:
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in run(SHOWN, OMP_DISPLAY_ENV="verbose").stderr


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "ACTIVE")])
def test_what_the_user_has_set_for_waiting_stays(name: str, value: str) -> None:
    shown = run(SHOWN, OMP_DISPLAY_ENV="verbose", **{name: value}).stderr
    assert f"{name} = '{value}'" in shown
    assert f"GOMP_SPINCOUNT = '{SPINS}'" not in shown


@pytest.mark.parametrize(("threads", "processes"), [(2, 2), (1, 64)])
def test_processes_of_one_machine_share_its_cores(threads: int, processes: int) -> None:
    code = f"import torch; from d2it.threads import *; torch.set_num_threads({threads}); share_cores({processes}); "
    assert run(f"{code}print(torch.get_num_threads())").stdout == "1\n"


def test_the_number_of_threads_that_the_user_has_set_stays() -> None:
    code = "import torch; from d2it.threads import *; share_cores(64); print(torch.get_num_threads())"
    assert run(code, OMP_NUM_THREADS="2").stdout == "2\n"
