"""Links from an experiment's parent run to the runs of all its stages, also of those that DVC took from its cache.

A stage links what dvc.lock records when it starts. An experiment for which no stage had to run is linked by the next
stage that ends, and by `python -m tracking sync` or `ui`: they read the dvc.lock of the workspace, and of each
experiment that DVC keeps as a commit under refs/exps.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from d2it.params.load import check_params
from d2it.params.sections import Params
from d2it.yaml import read_yaml
from pipeline.dag import definitions
from pipeline.git import commit as git_commit
from pipeline.git import git
from pipeline.key import recorded_keys
from tracking.experiment import WORKSPACE, ParentRun
from tracking.journal import now
from tracking.parent import complete, is_complete, link_stages
from tracking.store import Store, locked

if TYPE_CHECKING:
    from mlflow.entities import Run

REF = re.compile(r"([0-9a-f]{40}) refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/([^/]+)")
RUNNING = "refs/exps/exec/EXEC_MERGE"  # there while DVC runs an experiment in the workspace


@dataclass(frozen=True)
class RecordedExperiment:
    """An experiment that DVC knows."""

    parent: ParentRun
    params: Params
    lock: str  # text of its dvc.lock

    def keys(self) -> dict[str, str]:
        """Key of each of its stages, by name; empty if its dvc.lock cannot be read."""
        try:
            return recorded_keys(self.params.model_dump(mode="json"), read_yaml(self.lock))
        except (ValueError, KeyError, TypeError, AttributeError):  # of another version, or half written
            return {}


def workspace_keys(params: Params) -> dict[str, str]:
    """Keys of the stages that the current folder's dvc.lock holds for these params."""
    lock = Path("dvc.lock")
    if not lock.exists():
        return {}
    return RecordedExperiment(ParentRun.current(params), params, lock.read_text(encoding="utf-8")).keys()


def newest_runs(store: Store, keys: Mapping[str, str]) -> "dict[str, Run]":
    """The newest finished run of each stage, by name, from the stages' keys; stages without one are left out."""
    runs = {
        stage: store.newest(
            f"tags.`d2it.stage` = '{stage}' and tags.`d2it.key` = '{key}' and attributes.status = 'FINISHED'"
        )
        for stage, key in keys.items()
    }
    return {stage: run for stage, run in runs.items() if run is not None}


def link_runs(store: Store, parent: "Run", runs: "Mapping[str, Run]") -> None:
    """Link a parent run to runs of its stages, and copy their final numbers to it."""
    numbers: dict[str, float] = {}
    link_stages(store, parent.info.run_id, {stage: run.info.run_id for stage, run in runs.items()})
    for stage, run in runs.items():
        numbers |= {name: value for name, value in run.data.metrics.items() if name.startswith(f"{stage}.")}
    store.log_finals(parent.info.run_id, numbers, now(), parent.data.metrics)


def link_cached(store: Store) -> int:
    """Link all experiments that the repository's DVC knows to the runs of their stages; returns how many have changed.

    An experiment that ran no stage gets its parent run here, if the store has a run of any of its stages.
    """
    changed, names = 0, set(definitions(store.root / "dvc.yaml"))
    stages, busy = {f"stage.{name}" for name in names}, bool(git(store.root, "for-each-ref", RUNNING))
    parents = {run.data.tags["d2it.identity"]: run for run in store.parents()}
    for recorded in _recorded_experiments(store.root):
        parent = parents.get(recorded.parent.identity)
        if parent is None and recorded.parent.name == WORKSPACE:  # what is left of an experiment, which has a parent
            parent = next((run for run in parents.values() if run.data.params == recorded.parent.params), None)
        linked = set(parent.data.tags) if parent else set()
        if stages <= linked and parent and is_complete(parent):
            continue
        keys = recorded.keys()
        if parent is None and recorded.parent.name == WORKSPACE and (busy or not names <= keys.keys()):
            continue  # this is an experiment that has just begun: its first stage makes its parent
        missing = {stage: key for stage, key in keys.items() if f"stage.{stage}" not in linked}
        runs = newest_runs(store, missing)
        if runs:
            with locked(store.root):
                if parent is None:
                    parent = store.parent(recorded.parent.record())
                    store.client.set_terminated(parent.info.run_id, "FINISHED")
                    parents[recorded.parent.identity] = parent
                link_runs(store, parent, runs)
                store.sum_hours(parent.info.run_id)
            changed += 1
        if parent and (runs or not is_complete(parent)):
            complete(store, parent.info.run_id)
    return changed


def _recorded_experiments(root: Path) -> Iterator[RecordedExperiment]:
    """Each experiment of DVC, then the workspace; those whose params this code cannot read are left out."""
    for line in git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines():
        if match := REF.fullmatch(line):
            commit, first, rest, name = match.groups()
            texts = [git(root, "show", f"{commit}:{file}") for file in ("params.yaml", "dvc.lock")]
            yield from _experiment(name, first + rest, first + rest, texts)
    if (root / "params.yaml").exists() and (root / "dvc.lock").exists():
        texts = [(root / file).read_text(encoding="utf-8") for file in ("params.yaml", "dvc.lock")]
        yield from _experiment(WORKSPACE, "", git_commit(root), texts)


def _experiment(name: str, baseline: str, commit: str, texts: Sequence[str]) -> Iterator[RecordedExperiment]:
    """None or one, from the texts of its params.yaml and dvc.lock."""
    try:
        params = check_params(read_yaml(texts[0]))
    except ValueError:
        return
    yield RecordedExperiment(ParentRun.of(name, baseline, params, commit), params, texts[1])
