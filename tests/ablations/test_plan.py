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
