"""A training that starts from trained weights: which ones, and that nothing else is taken."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from d2it.dvae.model import load_dvae
from d2it.errors import UserError
from d2it.initial import find_model, identity_of
from d2it.params.sections import Params
from pipeline.initial import SECTIONS, initial_state, path_of
from tests.smallest import changed, run_stages

pytestmark = pytest.mark.slow

STAGES = ("prepare", "train_dvae", "encode_latents", "train_grain", "train_content")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of all trainings."""
    folder = tmp_path_factory.mktemp("trained")
    run_stages(changed({}), folder, STAGES)
    return folder / "outputs"


def states(params: Params, folder: Path) -> None:
    """As the stage `manifest` leaves them."""
    for stage in SECTIONS:
        path = folder / path_of(stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(initial_state(params, stage, folder), encoding="utf-8")


def never_learning(**more: Any) -> Params:
    """Learning rates next to nothing: what comes out is what a training started from."""
    rates = {"dvae.base_learning_rate": 1e-30, "grain_transformer.learning_rate": 1e-30}
    return changed(rates | {"content_transformer.learning_rate": 1e-30, "dvae.adversarial_weight": 0.0} | more)


def test_trainings_start_from_the_weights_of_a_folder(trained: Path, tmp_path: Path) -> None:
    params = never_learning(**{f"init_from.{section}": str(trained) for section in SECTIONS.values()})
    states(params, tmp_path)
    run_stages(params, tmp_path, STAGES)
    for stage in SECTIONS:
        before, after = ((outputs / stage / "weights.safetensors") for outputs in (trained, tmp_path / "outputs"))
        one, other = load_file(before), load_file(after)
        assert one.keys() == other.keys()
        for name, x in one.items():
            torch.testing.assert_close(x, other[name], msg=f"{stage}: {name}")
        assert (trained / stage / "curve.csv").read_text() != (tmp_path / "outputs" / stage / "curve.csv").read_text()


def test_thresholds_and_latent_scale_are_those_of_the_new_training_set(trained: Path, tmp_path: Path) -> None:
    params = never_learning(**{"init_from.dvae": str(trained), "grain.fine_ratio": 0.25})
    states(params, tmp_path)
    run_stages(params, tmp_path, ("prepare", "train_dvae"))
    before, after = load_dvae(trained / "train_dvae"), load_dvae(tmp_path / "outputs" / "train_dvae")
    assert before.thresholds != after.thresholds


def test_weights_that_changed_since_the_pipeline_began_are_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "train_dvae", tmp_path / "published")
    params = never_learning(**{"init_from.dvae": str(tmp_path / "published")})
    states(params, tmp_path)
    config = tmp_path / "published" / "config.json"
    config.write_text(config.read_text() + "\n")
    run_stages(params, tmp_path, ("prepare",))
    with pytest.raises(UserError, match="has changed since dvc repro began"):
        run_stages(params, tmp_path, ("train_dvae",))


def test_a_folder_is_that_of_all_models_or_of_the_one(trained: Path) -> None:
    assert find_model(trained, "train_dvae") == find_model(trained / "train_dvae", "train_dvae")
    of_grain, of_content = (identity_of(find_model(trained, stage)) for stage in ("train_grain", "train_content"))
    assert of_grain != of_content


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"init_from.dvae": "nowhere"}, "nowhere: must hold train_dvae/config.json"),
        ({"init_from.grain_transformer": "train_dvae"}, "holds a DynamicVAE: must be a DynamicGrainTransformer"),
        ({"init_from.content_transformer": "", "content_transformer.width": 64}, "width 32; to be trained: width 64"),
        ({"init_from.dvae": "", "dvae.latent_channels": 8}, "latent_channels 4; to be trained: latent_channels 8"),
    ],
)
def test_what_cannot_be_started_from_is_refused_before_any_stage_in_one_line(
    trained: Path, change: dict[str, Any], line: str
) -> None:
    [key] = [key for key in change if key.startswith("init_from")]
    params = changed(change | {key: str(trained / change[key])})
    stage = next(stage for stage, section in SECTIONS.items() if section == key.partition(".")[2])
    with pytest.raises(UserError, match=line) as refused:
        initial_state(params, stage, trained)
    assert "\n" not in str(refused.value)


def test_the_pipelines_own_outputs_are_refused_for_they_would_change_with_each_run(trained: Path) -> None:
    params = changed({"init_from.dvae": "outputs"})
    with pytest.raises(UserError, match="must be a copy"):
        initial_state(params, "train_dvae", trained.parent)


def test_without_a_folder_the_state_never_changes(tmp_path: Path) -> None:
    for stage in SECTIONS:
        assert json.loads(initial_state(changed({}), stage, tmp_path)) == {"init_from": "", "sha256": ""}
