"""Where a stage runs: on a SLURM cluster, on this machine, or in this process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from pipeline.errors import StageError

Target = Literal["slurm", "local", "inline"]
_TARGETS: tuple[Target, ...] = ("slurm", "local", "inline")
_PING_SECONDS = 5


def find_target() -> Target:
    """What D2IT_CLUSTER says; without it 'slurm' where SLURM answers, else 'local'.

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
    if _slurm_answers():
        return "slurm"
    print("sbatch is installed, but SLURM does not answer (scontrol ping): running on this machine", file=sys.stderr)
    return "local"


def _slurm_answers() -> bool:
    try:
        ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=_PING_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ping.returncode == 0 and " UP" in ping.stdout
