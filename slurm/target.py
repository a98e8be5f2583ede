"""Where a stage runs: on a SLURM cluster, on this machine, or in this process."""

import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from pipeline.errors import StageError
from slurm.queue import call

Target = Literal["slurm", "local", "inline"]
_TARGETS: tuple[Target, ...] = ("slurm", "local", "inline")
_PING_SECONDS = 5


def find_target() -> Target:
    """The value of D2IT_CLUSTER; without it 'slurm' where SLURM answers, else 'local'.

    Raises:
        StageError: D2IT_CLUSTER is something else, or asks for a SLURM that is not installed or configured.
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
    ping = call("scontrol", "ping", seconds=_PING_SECONDS)
    if ping and ping.returncode == 0 and " UP" in ping.stdout:
        return "slurm"
    print("sbatch is installed, but SLURM does not answer (scontrol ping): running on this machine", file=sys.stderr)
    return "local"
