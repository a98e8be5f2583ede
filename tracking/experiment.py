"""The parent run, which the stages of one experiment share though each is a process of its own.

An experiment is a `dvc exp run` (DVC names it in DVC_EXP_NAME) or a `dvc repro` of the workspace. Its identity is a
hash of name, baseline and all params, so independent processes agree on it, and repeating a `dvc repro` goes on with
the same parent.
"""

import getpass
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from d2it.data.description import read_description
from d2it.files import UnreadableFileError
from d2it.nested import flatten
from d2it.params.sections import Params
from pipeline.git import commit as git_commit

WORKSPACE = "workspace"


@dataclass(frozen=True)
class ParentRun:
    """A parent run, before it is in any store."""

    identity: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def current(cls, params: Params) -> "ParentRun":
        """The experiment that this process belongs to, from its environment and folder."""
        name = os.environ.get("DVC_EXP_NAME") or WORKSPACE
        run = cls.of(name, os.environ.get("DVC_EXP_BASELINE_REV", ""), params, git_commit())
        return replace(run, tags=run.tags | user_tag())

    @classmethod
    def of(cls, name: str, baseline: str, params: Params, commit: str) -> "ParentRun":
        """An experiment, wherever it ran; `baseline` and `commit` are Git's, '' if unknown."""
        flat = {key: as_text(value) for key, value in flatten(params.model_dump(mode="json")).items()}
        text = json.dumps([name, baseline, flat], sort_keys=True)
        tags = {"dvc.experiment": name, "dvc.baseline": baseline, "mlflow.source.git.commit": commit}
        tags |= {"mlflow.source.type": "LOCAL", "mlflow.source.name": "dvc.yaml"}
        known = {tag: value for tag, value in tags.items() if value}
        return cls(identity=hashlib.sha256(text.encode()).hexdigest()[:32], name=name, params=flat, tags=known)

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def user_tag() -> dict[str, str]:
    """Who runs this process; nothing where the machine does not know."""
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError, ImportError):  # a container without an entry for its user
        return {}


def as_text(value: Any) -> str:
    """A param's value as YAML would show it."""
    return value if isinstance(value, str) else json.dumps(value)


def data_fingerprint(outputs: Path = Path("outputs")) -> str:
    """Fingerprint of the prepared data; empty before `prepare` has run."""
    try:
        return read_description(outputs / "prepare").fingerprint
    except UnreadableFileError:
        return ""
