"""From an experiment's page to the runs of all its stages, also of those that DVC took from its cache.

A stage links what its dvc.lock records when it starts. What was complete without running a stage is linked by the next
stage that ends, and by `python -m tracking sync` or `ui`: the workspace's dvc.lock, and those of the experiments
that DVC keeps as commits under refs/exps, say what each is made of.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from d2it.params import Params, load_params
from d2it.yaml import read_yaml
from pipeline.dag import definitions
from pipeline.git import commit as git_commit
from pipeline.git import git
from pipeline.key import recorded_keys
from tracking.experiment import WORKSPACE, Parent
from tracking.journal import now
from tracking.store import Store, locked

if TYPE_CHECKING:
    from mlflow.entities import Run

REF = re.compile(r"([0-9a-f]{40}) refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/([^/]+)")


@dataclass(frozen=True)
class Recorded:
    """An experiment that DVC knows."""

    parent: Parent
    params: Params
    lock: str  # dvc.lock

    def keys(self) -> dict[str, str]:
        """Of the stages that it is made of; empty where that cannot be said."""
        try:
            return recorded_keys(self.params.model_dump(mode="json"), read_yaml(self.lock))
        except (ValueError, KeyError, TypeError, AttributeError):  # of another version, or half written
            return {}


def keys_here(params: Params) -> dict[str, str]:
    """Keys of the stages that the current folder's dvc.lock holds for these params."""
    lock = Path("dvc.lock")
    return Recorded(Parent.here(params), params, lock.read_text(encoding="utf-8")).keys() if lock.exists() else {}


def found(store: Store, keys: Mapping[str, str]) -> "dict[str, Run]":
    """The newest finished run by stage of those that there are."""
    runs = {
        stage: store.newest(
            f"tags.`d2it.stage` = '{stage}' and tags.`d2it.key` = '{key}' and attributes.status = 'FINISHED'"
        )
        for stage, key in keys.items()
    }
    return {stage: run for stage, run in runs.items() if run is not None}


def link(store: Store, parent: "Run", runs: "Mapping[str, Run]") -> None:
    """Lead from a parent to runs of its stages, and take over their final numbers."""
    from mlflow.entities import Metric

    when = now()
    numbers: dict[str, float] = {}
    store.link_stages(parent.info.run_id, {stage: run.info.run_id for stage, run in runs.items()})
    for stage, run in runs.items():
        numbers |= {name: value for name, value in run.data.metrics.items() if name.startswith(f"{stage}.")}
    new = {name: value for name, value in numbers.items() if parent.data.metrics.get(name) != value}
    store.log(parent.info.run_id, [Metric(name, value, when, 0) for name, value in new.items()])


def settle(store: Store) -> int:
    """Link what is not linked yet of all experiments that the repository's DVC knows; returns how many have changed.

    An experiment that ran no stage gets its parent run here, if the store has a run of any of its stages.
    """
    changed, stages = 0, {f"stage.{name}" for name in definitions(store.root / "dvc.yaml")}
    parents = {run.data.tags["d2it.identity"]: run for run in store.parents()}
    for recorded in _recorded(store.root):
        parent = parents.get(recorded.parent.identity)
        if parent is None and recorded.parent.name == WORKSPACE:  # what is left of an experiment, which has a parent
            parent = next((run for run in parents.values() if run.data.params == recorded.parent.params), None)
        linked = set(parent.data.tags) if parent else set()
        if stages <= linked:
            continue
        runs = found(store, {stage: key for stage, key in recorded.keys().items() if f"stage.{stage}" not in linked})
        if not runs:
            continue
        with locked(store.root):
            if parent is None:
                parent = store.parent(recorded.parent.record())
                store.client.set_terminated(parent.info.run_id, "FINISHED")
                parents[recorded.parent.identity] = parent
            link(store, parent, runs)
            store.sum_hours(parent.info.run_id)
        changed += 1
    return changed


def _recorded(root: Path) -> Iterator[Recorded]:
    """Each experiment of DVC, then the workspace; those that cannot be read, of older code perhaps, are left out."""
    for line in git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines():
        if match := REF.fullmatch(line):
            commit, first, rest, name = match.groups()
            texts = [git(root, "show", f"{commit}:{file}") for file in ("params.yaml", "dvc.lock")]
            yield from _experiment(name, first + rest, first + rest, *texts)
    if (root / "params.yaml").exists() and (root / "dvc.lock").exists():
        texts = [(root / file).read_text(encoding="utf-8") for file in ("params.yaml", "dvc.lock")]
        yield from _experiment(WORKSPACE, "", git_commit(root), *texts)


def _experiment(name: str, baseline: str, commit: str, params: str, lock: str) -> Iterator[Recorded]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(params)
        file.flush()
        try:
            checked = load_params(Path(file.name))
        except ValueError:
            return
    yield Recorded(Parent.of(name, baseline, checked, commit), checked, lock)
