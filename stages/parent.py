"""The parent run: what the stages of one experiment share, each a process of its own.

An experiment is a `dvc exp run` (DVC names it in DVC_EXP_NAME) or a `dvc repro` of the workspace. Its identity is a
hash of name, baseline and all params, so processes that know nothing of each other agree on it, and repeating a
`dvc repro` goes on with the same parent.
"""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d2it.params import Params

WORKSPACE = "workspace"
CODE = ("d2it", "stages", "slurm", "params.yaml", "dvc.yaml")  # as slurm/frozen.py copies it


@dataclass(frozen=True)
class Parent:
    """A parent run, before any store has heard of it."""

    identity: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def here(cls, params: Params) -> "Parent":
        """The experiment that this process belongs to, from its environment and folder."""
        name = os.environ.get("DVC_EXP_NAME") or WORKSPACE
        return cls.of(name, os.environ.get("DVC_EXP_BASELINE_REV", ""), params, git_commit())

    @classmethod
    def of(cls, name: str, baseline: str, params: Params, commit: str) -> "Parent":
        """An experiment that ran, or could have run, anywhere."""
        flat = flatten(params.model_dump(mode="json"))
        text = json.dumps([name, baseline, flat], sort_keys=True)
        tags = {"dvc.experiment": name, "dvc.baseline": baseline, "git.commit": commit}
        return cls(
            identity=hashlib.sha256(text.encode()).hexdigest()[:32],
            name=name,
            params=flat,
            tags={tag: value for tag, value in tags.items() if value},
        )

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested params as 'section.key' -> text, as YAML would show the value."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return flat


def git_commit(folder: Path = Path()) -> str:
    """Commit of the running code: what the launcher says of a frozen copy, else what `folder` has checked out."""
    if "D2IT_GIT_COMMIT" in os.environ:
        return os.environ["D2IT_GIT_COMMIT"]
    return git(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()


def data_fingerprint(outputs: Path = Path("outputs")) -> str:
    """Fingerprint of the prepared data; empty before `prepare` has run."""
    try:
        return str(json.loads((outputs / "prepare" / "data.json").read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def own_diff() -> str:
    """What the running code, params and pipeline differ from their commit by, without passwords; empty if in nothing.

    A job has it in a file, `dirty.diff`, written with the copy of the code that it runs.
    """
    frozen = Path("dirty.diff")
    try:
        text = frozen.read_text(encoding="utf-8") if frozen.exists() else git(Path(), "diff", "HEAD", "--", *CODE)
    except OSError:
        return ""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; empty if it fails."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
