"""What the stages of one experiment share: the parent run, its numbers, and the code that ran."""

import math
import subprocess
from pathlib import Path

import pytest
from mlflow.artifacts import load_text

from d2it.data.description import DataDescription, write_description
from d2it.nested import flatten
from d2it.params.sections import Params
from d2it.size import Size
from tests.tracking.mlflow_store import runs, tracker
from tracking.experiment import as_text
from tracking.store import Store


def test_parent_holds_all_params_the_final_numbers_and_the_way_to_its_stages(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tipsy-newt")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c0ffee")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with tracker(root, params, "prepare") as run_:
        data = DataDescription(
            train=1, validation=0, classes=[], labels="none", image_size=Size.of(64), fingerprint="f00d"
        )
        write_description(root / "outputs" / "prepare", data)
        run_.finish({"images": 8192})
    with tracker(root, params, "sample") as run_:
        run_.finish({"images_per_second": 12.0})
    (parent,) = runs(root)
    assert parent.info.run_name == "tipsy-newt"
    assert parent.info.status == "FINISHED"
    flat = flatten(params.model_dump(mode="json"))
    assert parent.data.params == {key: as_text(value) for key, value in flat.items()}
    assert parent.data.params["grain.factors"] == "[8, 16]"
    finals = {"prepare.images": 8192, "sample.images_per_second": 12.0}
    assert finals.items() <= parent.data.metrics.items()
    hours = [parent.data.metrics[f"{stage}.cpu_hours"] for stage in ("prepare", "sample")]
    assert parent.data.metrics["cpu_hours"] == pytest.approx(sum(hours))
    assert min(hours) > 0
    assert parent.data.tags["dvc.baseline"] == "c0ffee"
    assert parent.data.tags["data.fingerprint"] == "f00d"
    for stage in ("prepare", "sample"):
        (run,) = runs(root, stage)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["slurm.job_id"] == "77"
        assert parent.data.tags[f"stage.{stage}"] == run.info.run_id


def test_the_distance_is_a_parents_first_number_until_it_is_measured_not_a_number(root: Path, params: Params) -> None:
    name = "fid.fd_efficientnet_lite0"
    with tracker(root, params, "prepare") as run_:
        run_.finish({"images": 8192})
    (parent,) = runs(root)
    assert next(iter(parent.data.metrics)) == name
    assert math.isnan(parent.data.metrics[name])
    with tracker(root, params, "fid") as run_:
        run_.finish({"fd_efficientnet_lite0": 181.0})
    (parent,) = runs(root)
    assert next(iter(parent.data.metrics.items())) == (name, 181.0)


def test_experiments_are_apart_by_name_and_by_params_and_a_repeated_one_is_the_same(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = params.model_copy(update={"seed": params.seed + 1})
    for name, chosen in (("", params), ("", other), ("one", params), ("two", params), ("", params), ("one", params)):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        with tracker(root, chosen):
            pass
    assert sorted(str(run.info.run_name) for run in runs(root)) == ["one", "two", "workspace", "workspace"]


@pytest.fixture
def changed(root: Path) -> Path:
    """A repository with a file changed since its commit."""
    (root / "params.yaml").write_text("seed: 0\n")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "state"]):
        subprocess.run([*git, *arguments], cwd=root, check=True, timeout=30)
    (root / "params.yaml").write_text("seed: 1 # http://somebody:s3cret@host\n")
    return root


def test_changed_code_is_one_artifact_of_the_parent_without_passwords(changed: Path, params: Params) -> None:
    for stage in ("prepare", "sample"):
        with tracker(changed, params, stage):
            pass
    (parent,) = runs(changed)
    client = Store.connect(changed).client
    (artifact,) = client.list_artifacts(parent.info.run_id)
    text = load_text(f"{parent.info.artifact_uri}/{artifact.path}")
    assert "-seed: 0" in text
    assert "+seed: 1" in text
    assert "s3cret" not in text
    for stage in ("prepare", "sample"):
        (run,) = runs(changed, stage)
        assert run.data.tags["git.dirty"] == artifact.path
        assert run.data.tags["mlflow.source.git.commit"] == parent.data.tags["mlflow.source.git.commit"]


def test_a_job_records_the_diff_that_was_frozen_with_its_code(
    changed: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    (changed / "dirty.diff").write_text("")
    with tracker(changed, params):
        pass
    (parent,) = runs(changed)
    assert Store.connect(changed).client.list_artifacts(parent.info.run_id) == []
    assert "git.dirty" not in parent.data.tags
