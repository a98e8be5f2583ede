"""What Git knows of the running code."""

import os
import re
import subprocess
from pathlib import Path

from pipeline.packages import IN_A_JOB

CODE = (*IN_A_JOB, "params.yaml", "dvc.yaml")  # what a result depends on


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; empty if it fails."""
    command = ["git", *arguments]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""


def commit(folder: Path = Path()) -> str:
    """Commit of the running code: D2IT_GIT_COMMIT of a job, else what `folder` has checked out."""
    if "D2IT_GIT_COMMIT" in os.environ:
        return os.environ["D2IT_GIT_COMMIT"]
    return git(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()


def uncommitted(folder: Path = Path()) -> str:
    """Diff of code, params and pipeline against their commit, without passwords; empty where there is none.

    A job has it in the file `dirty.diff`, written with the copy of the code that it runs.
    """
    frozen = folder / "dirty.diff"
    try:
        diff = frozen.read_text(encoding="utf-8") if frozen.exists() else git(folder, "diff", "HEAD", "--", *CODE)
    except OSError:
        return ""
    return re.sub(r"://[^/@\s]+@", "://***@", diff)
