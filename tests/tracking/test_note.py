"""A parent's description: the result first, then what differs from a preset, then its stages; a user's own stays."""

import shutil
from pathlib import Path

import pytest

from d2it.params.sections import Params
from tests.tracking.mlflow_store import pictures, runs
from tests.tracking.pipeline_of_three import lay_out, run_stage
from tools.deps import ROOT
from tracking.__main__ import main
from tracking.note import NOTE, OWN
from tracking.store import Store


def _set(root: Path, name: str, text: str) -> None:
    Store.connect(root).client.set_tag(runs(root)[0].info.run_id, name, text)


def test_the_description_opens_with_rounded_numbers_and_the_picture_and_ends_with_the_stages(
    root: Path, params: Params
) -> None:
    lay_out(root)
    shutil.copytree(ROOT / "presets", root / "presets")
    changed = params.model_copy(update={"seed": 7})
    for stage in ("sample", "fid"):
        run_stage(root, changed, stage)
    (parent,) = runs(root)
    numbers, picture, error, preset, stages = parent.data.tags[NOTE].split("\n\n")
    assert f"run_uuid={parent.info.run_id}" in picture
    assert len(pictures(root, parent)) == 1
    assert numbers == "FD (efficientnet_lite0) **183**, class agreement **0.312 ± 0.015**"
    assert "another seed" in error
    assert preset == "Preset `demo`, changed (in brackets the preset's): `seed` 7 (0)."
    run = runs(root, "fid")[0].info
    page = f"[fid](#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning)"
    assert page in stages


@pytest.mark.parametrize("text", ["My own words.", ""])
def test_a_description_that_a_user_has_written_or_emptied_stays(root: Path, params: Params, text: str) -> None:
    lay_out(root)
    run_stage(root, params, "prepare")
    _set(root, NOTE, text)
    run_stage(root, params, "fid")
    assert runs(root)[0].data.tags[NOTE] == text


def test_words_that_a_user_has_added_to_ours_stay_and_a_description_of_an_older_version_is_renewed(
    root: Path, params: Params
) -> None:
    lay_out(root)
    run_stage(root, params, "prepare")
    ours = runs(root)[0].data.tags[NOTE]
    _set(root, NOTE, f"{ours}\n\nLooks good.")
    run_stage(root, params, "train_dvae")
    assert runs(root)[0].data.tags[NOTE].endswith("Looks good.")
    _set(root, NOTE, "Stages: [prepare](#/experiments/1/runs/2)")
    Store.connect(root).client.delete_tag(runs(root)[0].info.run_id, OWN)
    run_stage(root, params, "fid")
    assert "class agreement" in runs(root)[0].data.tags[NOTE]


def test_sync_completes_a_parent_of_an_older_version(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but links: no picture, no data."""
    shutil.copy(ROOT / "params.yaml", root)
    (root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    lay_out(root)
    with monkeypatch.context() as older:
        older.setattr("tracking.delivery.complete", lambda *_: None)
        older.setattr("tracking.tracker.link_cached", lambda *_: 0)
        run_stage(root, params, "sample")
    assert pictures(root, runs(root)[0]) == []
    assert main(["sync"]) == 0
    assert len(pictures(root, runs(root)[0])) == 1
