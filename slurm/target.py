"""Where a stage runs: on a SLURM cluster, on this machine, or in this process."""

import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

from pipeline.errors import StageError
from slurm.environment import call

Target = Literal["slurm", "local", "inline"]
_TARGETS: tuple[Target, ...] = ("slurm", "local", "inline")
WAIT_SECONDS = 3600.0  # for a controller that is slow, or restarted
_PAUSE_SECONDS = 5.0
# scontrol's words where packages are installed and there is no cluster
_NO_CLUSTER = re.compile(
    r"could not establish a configuration source|unable to process configuration file", re.IGNORECASE
)


def find_target() -> Target:
    """The value of D2IT_CLUSTER; without it 'slurm' where a SLURM is configured, else 'local'.

    A SLURM that does not answer is waited for: days of training must not begin on a login node.

    Raises:
        StageError: D2IT_CLUSTER is something else, or asks for a SLURM that is not installed or configured; or SLURM
            has not answered for an hour.
    """
    asked, conf = os.environ.get("D2IT_CLUSTER", ""), os.environ.get("SLURM_CONF")
    if conf and asked in ("", "slurm") and not Path(conf).exists():
        raise StageError(f"SLURM_CONF = {conf}: no such file; unset it, or start that cluster")
    has_sbatch = shutil.which("sbatch") is not None
    if asked == "slurm" and not has_sbatch:
        raise StageError("D2IT_CLUSTER = 'slurm': there is no sbatch on PATH; use 'local', or a machine of the cluster")
    for target in _TARGETS:
        if asked == target:
            return target
    if asked:
        raise StageError(f"D2IT_CLUSTER = {asked!r}: must be {', '.join(_TARGETS)}, or unset")
    if not has_sbatch:
        return "local"
    return _wait_for_slurm()


def _wait_for_slurm() -> Target:
    deadline, shown = time.monotonic() + WAIT_SECONDS, False
    while True:
        ping = call("scontrol", "ping")
        if ping and ping.returncode == 0 and " UP" in ping.stdout:
            return "slurm"
        if ping and _NO_CLUSTER.search(ping.stderr):
            print("sbatch is installed, but no cluster is configured: running on this machine", file=sys.stderr)
            return "local"
        way_out = "D2IT_CLUSTER=local runs stages on this machine"
        if time.monotonic() > deadline:
            raise StageError(f"SLURM has not answered for {WAIT_SECONDS / 60:.0f} min (scontrol ping); {way_out}")
        if not shown:
            print(f"SLURM does not answer (scontrol ping): waiting up to {WAIT_SECONDS / 60:.0f} min; {way_out}",
                  file=sys.stderr, flush=True)  # fmt: skip
            shown = True
        time.sleep(_PAUSE_SECONDS)
