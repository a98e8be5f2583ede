"""The key of a stage: one hash of all that its result depends on, the same on every machine.

Scratch folders, jobs and MLflow runs are named by it, so that no experiment takes those of another.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2it.params.load import load_params
from d2it.params.sections import Params
from d2it.yaml import read_yaml
from pipeline.dag import Definition, definition
from pipeline.errors import StageError

LENGTH = {"images", "cooldown_images", "checkpoint_images"}  # of a training, in its section of params.yaml


def stage_key(name: str) -> str:
    """SHA-256, 64 hex digits, of the stage's command, its params' values and its inputs' contents.

    Works in the current folder, the workspace. For an input that an upstream stage made, the md5 in dvc.lock is taken,
    which DVC has written by the time the next stage starts; all others are read.

    Raises:
        ParamsError: params.yaml cannot be used.
        StageError: unknown stage, or a param or an input of dvc.yaml that does not exist.
    """
    return _hash(_parts(name))


def trunk_key(name: str) -> str | None:
    """As `stage_key`, but equal for trainings that differ in their length alone; None for a stage that trains nothing.

    Until the learning rate of the shorter one falls they do the same.
    """
    parts = _parts(name)
    sections = [value for value in parts["params"].values() if isinstance(value, dict) and value.keys() >= LENGTH]
    for section in sections:
        for key in LENGTH:
            del section[key]
    return _hash(parts) if sections else None


def _parts(name: str) -> dict[str, Any]:
    stage = definition(name)
    values = load_params().model_dump(mode="json")
    recorded = recorded_outputs(Path("dvc.lock"))
    return {
        "stage": name,
        "cmd": stage.cmd,
        "params": {key: _value(values, key, name) for key in stage.params},
        "deps": {path: recorded.get(path) or _input_md5(path, name) for path in stage.deps},
    }


def hashes_of_params(params: Params, stages: Mapping[str, Definition]) -> dict[str, str]:
    """For each stage, by name, a hash of all params that shape its result, those of the stages before it included.

    Where code and images are the same, equal hashes mean the same result.

    Args:
        params: checked.
        stages: of dvc.yaml, in its order.
    """
    values = params.model_dump(mode="json")
    hashes: dict[str, str] = {}
    for name, stage in stages.items():
        before = {path.split("/")[1] for path in stage.deps if path.startswith("outputs/")} & hashes.keys()
        own = {key: _value(values, key, name) for key in stage.params}
        hashes[name] = _hash({"stage": name, "params": own, "before": {one: hashes[one] for one in sorted(before)}})
    return hashes


def recorded_keys(values: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, str]:
    """Key by name of each stage whose result a dvc.lock holds for these params: what `stage_key` gave when it ran.

    A stage that is recorded with other params, or with other inputs than its upstream stages record, is left out.

    Args:
        values: params.yaml as JSON values, checked.
        lock: content of the dvc.lock.
    """
    keys: dict[str, str] = {}
    outputs: dict[str, str] = {}  # md5 of those of stages that are up to date
    waiting = dict(lock.get("stages", {}))
    for name in [name for name, entry in waiting.items() if "deps" not in entry]:  # the manifest, which is no job
        outputs |= {out["path"]: out["md5"] for out in waiting.pop(name)["outs"]}
    while waiting:
        ready = [
            name
            for name, entry in waiting.items()
            if all(outputs.get(d["path"]) == d["md5"] for d in entry["deps"] if d["path"].startswith("outputs/"))
        ]
        for name in ready:
            entry = waiting.pop(name)
            if _params_of(name, entry, values) != _recorded_params(entry):
                continue
            keys[name] = recorded_key(name, entry, values)
            outputs |= {out["path"]: out["md5"] for out in entry.get("outs", [])}
        if not ready:
            break
    return keys


def recorded_key(name: str, entry: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """What `stage_key` gave when the stage ran that a dvc.lock holds as `entry`, whatever params.yaml holds by now.

    Args:
        name: of the stage.
        entry: of it in the dvc.lock.
        values: params.yaml as JSON values, checked: 1 where dvc.lock may have 1.0.
    """
    params, recorded = _params_of(name, entry, values), _recorded_params(entry)
    deps = {dep["path"]: dep["md5"] for dep in entry["deps"]}
    same = params if params == recorded else recorded
    return _hash({"stage": name, "cmd": entry["cmd"], "params": same, "deps": deps})


def _recorded_params(entry: Mapping[str, Any]) -> dict[str, Any]:
    return dict(entry.get("params", {}).get("params.yaml", {}))


def _params_of(name: str, entry: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _value(values, key, name) for key in _recorded_params(entry)}


def _hash(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content_md5(path: Path) -> str:
    """md5 of a file's bytes or, with '.dir' behind it, of a folder's relative paths and contents.

    The same hash that DVC 3 records, so an input has one whether dvc.lock lists it or not. Compiled Python files are
    left out.

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return str(hashlib.file_digest(file, _md5).hexdigest())
    files = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    counted = sorted(file.parts for file in files if "__pycache__" not in file.parts and file.suffix != ".pyc")
    tree = [{"md5": content_md5(path.joinpath(*parts)), "relpath": "/".join(parts)} for parts in counted]
    return f"{_md5(json.dumps(tree, sort_keys=True).encode()).hexdigest()}.dir"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def recorded_outputs(lock: Path) -> dict[str, str]:
    """md5 of each output under outputs/ that dvc.lock lists."""
    if not lock.exists():
        return {}
    stages = (read_yaml(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("outputs/") and "md5" in out}


def _value(values: Any, key: str, name: str) -> Any:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            raise StageError(f"dvc.yaml: stages.{name}.params: {key!r} is no key of params.yaml")
        values = values[part]
    return values


def _input_md5(path: str, name: str) -> str:
    try:
        return content_md5(Path(path))
    except FileNotFoundError:
        raise StageError(f"dvc.yaml: stages.{name}.deps: {path}: no such file or folder") from None
