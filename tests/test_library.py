"""What a user of the library does: `import d2it`, build models from plain values, save them, and read them back."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import d2it
from d2it.errors import UserError
from d2it.saved import save_model
from tests.dvae.test_model import dvae, photos, random_map
from tests.transformer.models import TINY, content_transformer, randomize

LABELS, TIMES = torch.tensor([0, 1, 4]), torch.tensor([3, 500, 999])


def content_output(model: nn.Module) -> Tensor:
    z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    output: Tensor = model(z, TIMES, LABELS, random_map(2, 4))
    return output


def grain_output(model: nn.Module) -> Tensor:
    noisy = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    logits: Tensor = model(noisy, TIMES, LABELS)
    return logits


def dvae_output(model: nn.Module) -> Tensor:
    assert isinstance(model, d2it.DynamicVAE)
    return model.reconstruct(photos(), random_map(2, 4))


# A small model of each class, how it is read back, and what it computes.
Kind = tuple[Callable[[], nn.Module], Callable[[Path], nn.Module], Callable[[nn.Module], Tensor]]
KINDS: dict[str, Kind] = {
    "content": (content_transformer, d2it.load_content, content_output),
    "grain": (lambda: randomize(d2it.DynamicGrainTransformer(**TINY, region_grid=4)), d2it.load_grain, grain_output),
    "dvae": (dvae, d2it.load_dvae, dvae_output),
}
ABOUT = {"thresholds": [1.5], "latent_scale": 0.5, "data": "photos"}  # of a DVAE


def saved(folder: Path, kind: str, **architecture: Any) -> Callable[[], nn.Module]:
    """Save a model with changes to its architecture in config.json; returns what reads it back."""
    build, load, _ = KINDS[kind]
    save_model(folder, build(), ABOUT)
    change(folder, lambda config: config["architecture"].update(architecture))
    return lambda: load(folder)


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit config.json."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    edit(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def assert_refused(load: Callable[[], object], folder: Path) -> None:
    """In one line that names the file."""
    with pytest.raises(UserError) as caught:
        load()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith((f"{folder / 'config.json'}: ", f"{folder / 'weights.safetensors'}: "))


@pytest.mark.parametrize("name", d2it.__all__)
def test_what_the_package_offers_is_there(name: str) -> None:
    assert getattr(d2it, name) is not None


def test_what_it_does_not_offer_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="DynamicNothing"):
        _ = d2it.DynamicNothing


def test_building_a_model_needs_no_params() -> None:
    code = (
        "import sys, d2it\n"
        "assert 'torch' not in sys.modules\n"
        "d2it.DynamicContentTransformer(**d2it.SIZES['S'], classes=10); d2it.DynamicGrainTransformer(classes=10)\n"
        "assert not {'d2it.params', 'pydantic', 'ruamel'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_saved_model_computes_the_same(tmp_path: Path, kind: str) -> None:
    build, load, output = KINDS[kind]
    model = build().eval()
    save_model(tmp_path, model, ABOUT)
    loaded = load(tmp_path)
    assert torch.equal(output(loaded), output(model))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert loaded.architecture == model.architecture


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config.pop("version"),
        lambda config: config.update(version=1),
        lambda config: config.update(version=4),
        lambda config: config.update(model="DynamicNothing"),
        lambda config: config.pop("model"),
        lambda config: config.pop("architecture"),
        lambda config: config.update(architecture=[]),
        lambda config: config["architecture"].update(depth=3),
        lambda config: config["architecture"].update(activation_checkpointing=True),
    ],
    ids=["no version", "older", "newer", "another model", "no model", "no architecture", "a list", "unknown", "switch"],
)
def test_a_config_of_other_code_or_of_another_model_is_refused(
    tmp_path: Path, kind: str, edit: Callable[[dict[str, Any]], object]
) -> None:
    load = saved(tmp_path, kind)
    change(tmp_path, edit)
    assert_refused(load, tmp_path)


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind in KINDS for key in KINDS[kind][0]().architecture])
def test_a_config_without_a_key_of_the_architecture_is_refused(tmp_path: Path, kind: str, key: str) -> None:
    """A default would be another model, of the same weights."""
    load = saved(tmp_path, kind)
    change(tmp_path, lambda config: config["architecture"].pop(key))
    assert_refused(load, tmp_path)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("content", "heads", 5),
        ("content", "heads", 0),
        ("content", "width", "wide"),
        ("content", "width", -32),
        ("content", "layers", None),
        ("content", "dropout", 1.5),
        ("content", "window", 5),
        ("content", "window", 0),
        ("content", "window", "half"),
        ("content", "tokens", "some"),
        ("content", "position", "none"),
        ("content", "factors", []),
        ("content", "factors", [8, 12]),
        ("content", "factors", 8),
        ("content", "latent_grid", 9),
        ("content", "classes", -1),
        ("grain", "heads", 5),
        ("grain", "grains", 0),
        ("grain", "region_grid", -1),
        ("grain", "region_grid", [4]),
        ("content", "latent_grid", [8, 9]),
        ("content", "latent_grid", [8, 8]),
        ("dvae", "regularizer", "vae"),
        ("dvae", "channels", 20),
        ("dvae", "multipliers", [1, 2]),
        ("dvae", "patch", 3),
        ("dvae", "patch", 0),
        ("dvae", "factors", [8, 32]),
        ("dvae", "factors", [4, 8]),
    ],
)
def test_an_impossible_value_is_refused(tmp_path: Path, kind: str, key: str, value: Any) -> None:
    assert_refused(saved(tmp_path, kind, **{key: value}), tmp_path)


@pytest.mark.parametrize(("grid", "written"), [(8, 8), ([8, 8], 8), ([8, 12], [8, 12]), ((12, 8), [12, 8])])
def test_a_models_grid_is_written_as_one_number_where_it_is_a_square(tmp_path: Path, grid: Any, written: Any) -> None:
    for name, model, key in (
        ("content", content_transformer(latent_grid=grid, window=4), "latent_grid"),
        ("grain", d2it.DynamicGrainTransformer(**TINY, region_grid=grid), "region_grid"),
    ):
        save_model(tmp_path / name, model, {})
        config = json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))
        assert config["architecture"][key] == written
        again = KINDS[name][1](tmp_path / name)
        assert again.architecture == config["architecture"]


def test_a_dvae_without_its_thresholds_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, dvae(), {})
    assert_refused(lambda: d2it.load_dvae(tmp_path), tmp_path)
