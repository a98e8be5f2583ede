"""Stages that DVC takes from its cache, in a real DVC repository of three tiny stages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import Run
from ruamel.yaml import YAML

from d2it.params.sections import Params
from d2it.yaml import read_yaml
from pipeline.key import recorded_keys, stage_key
from tests.tracking.fixtures import ENVIRONMENT
from tests.tracking.mlflow_store import runs
from tools.deps import ROOT
from tracking.__main__ import main
from tracking.cached import RUNNING

pytestmark = pytest.mark.slow

STAGE = """
import os
import subprocess
import sys
from pathlib import Path
from d2it.params.load import load_params
from pipeline.key import stage_key
from pipeline.root import find_root
from tracking.tracker import Tracker
name, params = sys.argv[1], load_params()
if "SYNC" in os.environ:  # as if a user opened the UI now
    subprocess.run([sys.executable, "-m", "tracking", "sync"], check=True)
folder = Path("outputs", name)
folder.mkdir(parents=True, exist_ok=True)
with Tracker.open(stage=name, key=stage_key(name), params=params, root=find_root()) as tracker:
    made = {"prepare": params.seed, "train_grain": params.grain_transformer.images, "sample": params.sample.steps}[name]
    (folder / "made.txt").write_text(str(made))
    tracker.finish({"made": made})
"""


def _stage(name: str, params: list[str], *inputs: str) -> dict[str, object]:
    deps = [f"{name}.txt", *inputs]
    return {"cmd": f"python work.py {name}", "params": params, "deps": deps, "outs": [f"outputs/{name}/made.txt"]}


class Toy:
    """prepare -> train_grain -> sample, each with a file of its own that stands for its code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Write and run the stages, and commit."""
        stages = {
            "prepare": _stage("prepare", ["seed"]),
            "train_grain": _stage(
                "train_grain", ["grain_transformer.images", "dvae.kl_weight"], "outputs/prepare/made.txt"
            ),
            "sample": _stage("sample", ["sample.steps"], "outputs/train_grain/made.txt"),
        }
        YAML().dump({"stages": stages}, self.folder / "dvc.yaml")
        (self.folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        (self.folder / "work.py").write_text(STAGE)
        (self.folder / ".gitignore").write_text("/.d2it/\n/outputs/\n")
        for name in stages:
            (self.folder / f"{name}.txt").write_text("code")
        self.run("git", "init", "-q")
        self.dvc("init", "-q")
        self.dvc("config", "core.analytics", "false")
        self.dvc("repro")
        self.commit()

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "state")

    def run(self, *command: str) -> str:
        python = Path(sys.executable).parent
        kept = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        environment = kept | {"PATH": f"{python}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Path:
    """A repository in which all stages have run."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / ".d2it").mkdir()
    shutil.copy(fresh_store, folder / ".d2it" / "mlflow.db")
    Toy(folder).make()
    return folder


@pytest.fixture
def toy(root: Path, made: Path) -> Toy:
    """A copy of that repository."""
    shutil.copytree(made, root, symlinks=True, dirs_exist_ok=True)
    return Toy(root)


def _parent(root: Path, name: str) -> Run:
    (parent,) = [run for run in runs(root) if run.info.run_name == name]
    return parent


def _links(root: Path, name: str) -> dict[str, str]:
    return {tag: run_id for tag, run_id in _parent(root, name).data.tags.items() if tag.startswith("stage.")}


def test_every_parent_leads_to_all_stages_whether_they_ran_or_came_from_the_cache(toy: Toy, params: Params) -> None:
    root = toy.folder
    first = _links(root, "workspace")
    assert len(first) == 3
    lock = read_yaml((root / "dvc.lock").read_text())
    keys = recorded_keys(params.model_dump(mode="json"), lock)
    assert keys == {name: stage_key(name) for name in ("prepare", "train_grain", "sample")}

    toy.dvc("exp", "run", "-q", "-n", "steps", "-S", "sample.steps=7")  # upstream from the cache
    steps = _links(root, "steps")
    assert steps.keys() == first.keys()
    assert {tag for tag in first if steps[tag] != first[tag]} == {"stage.sample"}
    assert _parent(root, "steps").data.metrics["prepare.made"] == params.seed

    (root / "prepare.txt").write_text("other code, same result")  # downstream from the cache
    toy.dvc("exp", "run", "-q", "-n", "code", "-S", f"sample.steps={params.sample.steps}")
    toy.dvc("exp", "run", "-q", "-n", "cached", "-S", "sample.steps=7")  # all of it
    assert "cached" not in {run.info.run_name for run in runs(root)}
    assert main(["sync"]) == 0
    code, cached = _links(root, "code"), _links(root, "cached")
    assert code["stage.sample"] == first["stage.sample"]
    assert code["stage.prepare"] not in (first["stage.prepare"], None)
    assert cached == steps | {"stage.prepare": code["stage.prepare"]}
    assert _parent(root, "cached").info.status == "FINISHED"
    assert _parent(root, "cached").data.metrics["sample.made"] == 7
    assert _parent(root, "cached").data.tags["dvc.baseline"] == _parent(root, "code").data.tags["dvc.baseline"]

    before = len(runs(root))
    assert main(["sync"]) == 0
    assert len(runs(root)) == before == 4


def test_opening_the_ui_while_an_experiment_starts_makes_no_run_of_the_workspace(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC", "yes")
    toy.dvc("exp", "run", "-q", "-n", "steps", "-S", "sample.steps=7")
    assert sorted(run.info.run_name for run in runs(toy.folder)) == ["steps", "workspace"]
    text = (toy.folder / "params.yaml").read_text()
    (toy.folder / "params.yaml").write_text(re.sub(r"\n  steps: \S+", "\n  steps: 9", text))  # as `--queue` does
    assert main(["sync"]) == 0
    assert len(runs(toy.folder)) == 2


def test_an_experiment_of_which_all_is_cached_is_none_of_the_workspace_while_it_runs(toy: Toy) -> None:
    text = (toy.folder / "params.yaml").read_text()
    (toy.folder / "params.yaml").write_text(
        re.sub(r"  grain_guidance: \S+", "  grain_guidance: 1.25", text)
    )  # which no stage here reads
    toy.run("git", "update-ref", RUNNING, "HEAD")
    assert main(["sync"]) == 0
    assert len(runs(toy.folder)) == 1
    toy.run("git", "update-ref", "-d", RUNNING)
    assert main(["sync"]) == 0
    assert len(runs(toy.folder)) == 2


def test_keys_leave_out_what_is_recorded_with_other_params_and_what_is_made_from_it(toy: Toy, params: Params) -> None:
    lock = read_yaml((toy.folder / "dvc.lock").read_text())
    values = params.model_dump(mode="json")
    values["grain_transformer"]["images"] += 1
    assert list(recorded_keys(values, lock)) == ["prepare"]
