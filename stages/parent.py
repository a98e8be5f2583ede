"""The parent run: what the stages of one experiment share, each a process of its own.

An experiment is a `dvc exp run` (DVC names it in DVC_EXP_NAME) or a `dvc repro` of the workspace. Its identity is a
hash of name, baseline and all params, so processes that know nothing of each other agree on it, and repeating a
`dvc repro` goes on with the same parent.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d2it.params import Params
from stages.dag import Definition, definitions
from stages.key import stage_key

WORKSPACE = "workspace"


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
        baseline = os.environ.get("DVC_EXP_BASELINE_REV", "")
        flat = flatten(params.model_dump(mode="json"))
        text = json.dumps([name, baseline, flat], sort_keys=True)
        tags = {"dvc.experiment": name, "dvc.baseline": baseline, "git.commit": git_commit()}
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


def git_commit() -> str:
    """Commit of the running code: what the launcher says of a frozen copy, else what this folder has checked out."""
    if "D2IT_GIT_COMMIT" in os.environ:
        return os.environ["D2IT_GIT_COMMIT"]
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def data_fingerprint(outputs: Path = Path("outputs")) -> str:
    """Fingerprint of the prepared data; empty before `prepare` has run."""
    try:
        return str(json.loads((outputs / "prepare" / "data.json").read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def keys_of_others(stage: str) -> dict[str, str]:
    """Keys, with the present params and files, of the stages that do not depend on `stage`.

    One that cannot be computed is left out, and so are those downstream: their inputs are not there yet.
    """
    keys: dict[str, str] = {}
    try:
        known = definitions()
        for name in set(known) - downstream(stage, known) - {stage}:
            keys[name] = stage_key(name)
    except Exception as error:  # for a link on a page no stage may fail
        print(f"tracking: links to other stages are incomplete: {error}", file=sys.stderr)
    return keys


def downstream(stage: str, known: Mapping[str, Definition]) -> set[str]:
    """Stages that read `outputs/<stage>/`, or what is made from it."""
    found: set[str] = set()
    new = {stage}
    while new:
        folders = [Path("outputs", name) for name in new]
        readers = {
            name
            for name, one in known.items()
            for dep in map(Path, one.deps)
            if any(dep == folder or folder in dep.parents for folder in folders)
        }
        new = readers - found
        found |= new
    return found
