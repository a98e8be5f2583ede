"""SLURM's programs without the settings of a site, a user or an outer job: a call says all that it asks for."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping

TIMEOUT_SECONDS = 30.0
# SQUEUE_PARTITION, SBATCH_EXPORT, SLURM_CLUSTERS, SLURM_JOB_ID, ...; which cluster, and who asks, is not ours to drop
_SETTINGS = re.compile(r"(SLURM|SBATCH|SRUN|SALLOC|SQUEUE|SCONTROL|SCANCEL|SINFO|SACCT)_(?!(CONF|JWT)$)")


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without any variable that changes what SLURM's programs do or print."""
    return {name: value for name, value in environment.items() if not _SETTINGS.match(name)}


@contextlib.contextmanager
def no_settings() -> Iterator[None]:
    """The same for this process, for a while: for a library that starts SLURM's programs itself."""
    dropped = {name: value for name, value in os.environ.items() if _SETTINGS.match(name)}
    for name in dropped:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(dropped)


def call(*command: str, seconds: float | None = None) -> "subprocess.CompletedProcess[str] | None":
    """Run one of SLURM's programs; None if it does not exist, or does not answer within `seconds` (30 by default)."""
    environment = without_settings(os.environ)
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds or TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
