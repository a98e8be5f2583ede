"""Outputs of another experiment, put in place by hand, are refused in one line that names both sides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from d2it.errors import UserError
from d2it.files import UnreadableFileError
from d2it.saved import SavedModelError
from pipeline.errors import StageError
from stages.stage import NAMES
from tests.smallest import changed, hand_over, run_stages

pytestmark = pytest.mark.slow
MADE = NAMES[:5]  # prepare .. train_content
BASE: dict[str, Any] = {}
OTHERS: dict[str, dict[str, Any]] = {
    "data": {"data.train_crops": 40},
    "seed": {"grain.fine_ratio": 0.6},
    "regulariser": {"dvae.regularizer": "vq"},
    "grains": {"grain.factors": [8, 16, 32], "grain.fine_ratio": [0.3, 0.4, 0.3], "refinenet.window": 4},
    "size": {
        "content_transformer.width": 16,
        "refinenet.layers": 0,
        "grain_transformer.layers": 2,
        "dvae.channels": 16,
    },
    "noise": {"diffusion.objective": "v", "diffusion.beta_end": 0.01},
}
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Folder of an experiment whose stages up to train_content have run, by its name in OTHERS or 'base'."""
    folders: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            run_stages(changed(OTHERS.get(name, BASE)), folders[name], MADE)
        return folders[name]

    return find


@pytest.fixture
def refusal(made: Folder, tmp_path: Path) -> Callable[..., str]:
    """The error of a stage of the base experiment, after stages of another one were put in place."""

    def of(stage: str, other: str, *names: str) -> str:
        hand_over(made("base"), tmp_path, NAMES[: min(NAMES.index(stage), len(MADE))])
        hand_over(made(other), tmp_path, names)
        with pytest.raises((StageError, SavedModelError)) as caught:
            run_stages(changed(BASE), tmp_path, [stage])
        assert isinstance(caught.value, UserError)
        assert "\n" not in str(caught.value)
        assert [path.name for path in (tmp_path / "outputs" / stage).iterdir()] == []
        return str(caught.value).replace(str(tmp_path / "outputs") + "/", "")

    return of


@pytest.mark.parametrize("stage", ["encode_latents", "train_content", "sample", "fid"])
@pytest.mark.parametrize(
    ("other", "one", "another"),
    [
        ("regulariser", "dvae.regularizer vq", "dvae.regularizer kl"),
        ("grains", "grain.factors [8, 16, 32]", "grain.factors [8, 16]"),
        ("size", "dvae.channels 16", "dvae.channels 8"),
        ("data", "data set ", "data set "),
    ],
)
def test_another_dvae_is_refused(refusal: Callable[..., str], stage: str, other: str, one: str, another: str) -> None:
    line = refusal(stage, other, "train_dvae")
    first, _, second = line.partition("; ")
    assert first.startswith("train_dvae: ")
    assert one in first
    assert second.startswith(("params.yaml: ", "prepare: "))
    assert another in second
    assert "must be equal" in second


@pytest.mark.parametrize("stage", ["train_content", "sample"])
def test_a_dvae_of_the_same_size_and_data_that_did_not_make_the_latents_is_refused(
    refusal: Callable[..., str], stage: str
) -> None:
    line = refusal(stage, "seed", "train_dvae")
    assert line.startswith("encode_latents: DVAE ")
    assert "; train_dvae: DVAE " in line


@pytest.mark.parametrize("stage", ["train_grain", "train_content", "sample"])
@pytest.mark.parametrize(
    ("other", "fact"), [("data", "data set"), ("grains", "grain.factors"), ("regulariser", "dvae.regularizer vq")]
)
def test_latents_of_another_experiment_are_refused(
    refusal: Callable[..., str], stage: str, other: str, fact: str
) -> None:
    line = refusal(stage, other, "encode_latents")
    assert line.startswith("encode_latents: ")
    assert fact in line


@pytest.mark.parametrize("trained", ["train_grain", "train_content"])
@pytest.mark.parametrize(("other", "fact"), [("data", "data set"), ("seed", "DVAE"), ("grains", "grain.factors")])
def test_transformers_of_another_experiment_are_refused(
    refusal: Callable[..., str], trained: str, other: str, fact: str
) -> None:
    line = refusal("sample", other, trained)
    assert line.startswith(f"{trained}: ")
    assert line.count(fact) == 2


@pytest.mark.parametrize(
    ("trained", "other", "facts"),
    [
        ("train_grain", "size", ["grain_transformer.layers 2", "grain_transformer.layers 1"]),
        (
            "train_content",
            "size",
            [
                "content_transformer.width 16",
                "content_transformer.width 32",
                "refinenet.layers 0",
                "refinenet.layers 1",
            ],
        ),
        ("train_content", "noise", ["diffusion.objective v", "diffusion.objective epsilon"]),
        ("train_grain", "noise", ["diffusion.beta_end 0.01", "diffusion.beta_end 0.02"]),
    ],
)
def test_transformers_of_another_size_or_noise_than_params_yamls_are_refused(
    refusal: Callable[..., str], trained: str, other: str, facts: list[str]
) -> None:
    line = refusal("sample", other, trained)
    assert line.startswith(f"{trained}: ")
    assert "; params.yaml: " in line
    assert all(fact in line for fact in facts)


def test_all_outputs_of_one_experiment_together_are_refused_where_params_yaml_is_anothers(
    refusal: Callable[..., str],
) -> None:
    assert "params.yaml: grain.factors [8, 16]" in refusal("sample", "grains", *MADE)


def test_what_belongs_together_is_taken(made: Folder, tmp_path: Path) -> None:
    hand_over(made("base"), tmp_path, MADE)
    assert run_stages(changed(BASE | {"sample.steps": 2}), tmp_path, ["sample"])["sample"]["images"] == 8


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"factors": [8, 16]}', None])
def test_a_damaged_description_is_refused(made: Folder, tmp_path: Path, content: str | None) -> None:
    hand_over(made("base"), tmp_path, MADE)
    path = tmp_path / "outputs" / "train_content" / "config.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises((SavedModelError, UnreadableFileError), match=r"train_content") as caught:
        run_stages(changed(BASE), tmp_path, ["sample"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train_dvae", "train_grain", "train_content"])
@pytest.mark.parametrize("kept", [0, 100, -1])
def test_cut_off_weights_are_refused(made: Folder, tmp_path: Path, name: str, kept: int) -> None:
    hand_over(made("base"), tmp_path, MADE)
    path = tmp_path / "outputs" / name / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises((SavedModelError, StageError), match=name) as caught:
        run_stages(changed(BASE), tmp_path, ["sample"])
    assert "\n" not in str(caught.value)


def test_weights_beside_a_description_of_another_size_are_refused_by_name_and_shape(
    made: Folder, tmp_path: Path
) -> None:
    hand_over(made("base"), tmp_path, MADE)
    other = made("size") / "outputs" / "train_content" / "weights.safetensors"
    (tmp_path / "outputs" / "train_content" / "weights.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(SavedModelError, match=r"weights of another model: .*\[16.*; expected: .*\[32") as caught:
        run_stages(changed(BASE), tmp_path, ["sample"])
    assert "\n" not in str(caught.value)


def test_what_an_experiment_records_of_its_inputs_names_the_data_and_the_dvae(made: Folder) -> None:
    outputs = made("base") / "outputs"
    fingerprint = json.loads((outputs / "prepare" / "data.json").read_text())["fingerprint"]
    assert json.loads((outputs / "train_dvae" / "config.json").read_text())["data"] == fingerprint
    latents = json.loads((outputs / "encode_latents" / "train" / "config.json").read_text())
    for name in ("train_grain", "train_content"):
        assert json.loads((outputs / name / "config.json").read_text())["latents"] == latents
    assert latents["data"] == fingerprint
    assert len(latents["dvae"]) == 64
