"""An experiment's params are exactly a preset's with a setting's changes, whatever params.yaml holds."""

import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from ablations.plan import Experiment, hydra_value, params_hash, plan, presets, slug
from ablations.tables import read_tables
from d2it.params.load import load_params
from tools.deps import ROOT

LAST = {name: plan(read_tables()["components"], ROOT, name, 2).experiments[-1] for name in presets(ROOT)}


@pytest.mark.parametrize("experiment", LAST.values(), ids=LAST)
def test_dvc_makes_the_wanted_params_from_the_workspaces(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy2(ROOT / "params.yaml", path)
    apply_overrides(path, experiment.overrides(load_params(ROOT / "params.yaml")))
    assert load_params(path) == experiment.params


@pytest.mark.parametrize("value", ["data/my photos.zip", "dpm-solver++", "it's", "null", "a=b,c", "data/ffhq.zip"])
def test_any_text_reaches_params_as_it_is(value: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy2(ROOT / "params.yaml", path)
    apply_overrides(path, [f"data.source={hydra_value(value)}"])
    assert load_params(path).data.source == value


def test_each_param_changes_the_name() -> None:
    params = load_params(ROOT / "params.yaml")
    other = params.model_copy(update={"fid": params.fid.model_copy(update={"neighbours": 4})})
    assert params_hash(params) != params_hash(other)


@pytest.mark.parametrize(
    ("label", "name"),
    [("+ DVAE and routing", "dvae-and-routing"), ("10+2", "10-2"), ("r = 0.5", "r-0.5"), ("D²iT-XL", "d2it-xl")],
)
def test_labels_become_parts_of_names(label: str, name: str) -> None:
    assert slug(label) == name


def test_seeds_of_one_stream_leave_the_others_as_they_are() -> None:
    made = plan(read_tables()["seeds"], ROOT, "demo", 3, sampling_seeds=2)
    params = {row.label: [one.params for one in row.experiments] for row in made.rows}
    assert [one.seed for one in params["all of a training"]] == [0, 0, 1, 1, 2, 2]
    assert [one.sample.seed for one in params["all of a training"]] == [0, 1] * 3
    assert [one.seeds.order for one in params["order of images"]] == [0, 0, 1, 1, 2, 2]
    assert {(one.seed, one.seeds.weights, one.seeds.noise) for one in params["order of images"]} == {(0, 0, 0)}
    assert [one.sample.seed for one in params["noise of sampling"]] == [0, 1, 2]
    assert len({one.identity for one in made.experiments}) == 19  # seed 0 is the same in all rows


def test_a_first_sampling_bears_no_number_and_others_do() -> None:
    row = plan(read_tables()["window"], ROOT, "demo", 1, sampling_seeds=2).rows[2]
    assert [one.name.rsplit("-", 2)[0] for one in row.experiments] == ["window-8-seed0", "window-8-seed0-sample1"]
