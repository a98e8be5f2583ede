"""params.yaml is checked before any work; an error names key, value and what is allowed, all wrong keys at once."""

import copy
from pathlib import Path
from typing import Any

import pytest

from d2it.params.load import ParamsError, check_params, load_params
from d2it.params.sections import Params, Section
from d2it.yaml import read_yaml
from tools.deps import ROOT

DEMO: dict[str, Any] = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))


def changed(**changes: Any) -> dict[str, Any]:
    """The demo's values with 'section__key' replaced."""
    values = copy.deepcopy(DEMO)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = values
        for section in sections:
            place = place[section]
        place[key] = value
    return values


def error_of(values: Any) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        check_params(values)
    return str(caught.value).splitlines()


def test_the_demo_is_valid() -> None:
    assert load_params(ROOT / "params.yaml").grain.factors == [8, 16]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"refinenet__window": 5}, "refinenet.window = 5: must divide the latent grid, 8"),
        ({"refinenet__window": "half"}, "refinenet.window = 'half': must be a whole number or must be 'full'"),
        ({"refinenet__window": 1}, "refinenet.window = 1: must divide the latent grid, 8"),
        (
            {"data__image_size": 72, "refinenet__window": "full"},
            "data.image_size = 72: must be a multiple of the largest factor, 16",
        ),
        ({"data__image_size": 64.0}, "data.image_size = 64.0: must be a whole number above 0, or two, [height, width]"),
        ({"data__image_size": 0}, "data.image_size = 0: must be a whole number above 0, or two, [height, width]"),
        ({"data__image_size": [64]}, "data.image_size = [64]: must be a whole number above 0, or two, [height, width]"),
        ({"data__image_size": [64, 64, 3]}, "data.image_size = [64, 64, 3]: must be a whole number above 0, or two"),
        ({"data__image_size": [64, -64]}, "data.image_size = [64, -64]: must be a whole number above 0, or two"),
        ({"data__image_size": "64x96"}, "data.image_size = '64x96': must be a whole number above 0, or two"),
        (
            {"data__image_size": [64, 72], "refinenet__window": "full"},
            "data.image_size = [64, 72]: must be a multiple of the largest factor, 16",
        ),
        (
            {"data__image_size": [64, 96], "refinenet__window": 8},
            "refinenet.window = 8: must divide the latent grid, [8, 12] (= data.image_size / smallest factor)",
        ),
        (
            {"data__image_size": [64, 16], "refinenet__window": 2, "dvae__perceptual": "st_lpips"},
            "data.image_size = [64, 16]: must be at least 18 for dvae.perceptual 'st_lpips'",
        ),
        ({"data__flip": "yes"}, "data.flip = 'yes': must be true or false"),
        (
            {"content_transformer__heads": 7},
            "content_transformer.heads = 7: must divide content_transformer.width, 128",
        ),
        ({"content_transformer__dropout": 1.0}, "content_transformer.dropout = 1.0: must be < 1"),
        ({"grain__fine_ratio": 1.5}, "grain.fine_ratio = 1.5: must be <= 1"),
        ({"grain__fine_ratio": [0.5, 0.6]}, "grain.fine_ratio = [0.5, 0.6]: a list must hold 2 shares"),
        ({"grain__factors": [8, 16, 32]}, "grain.fine_ratio = 0.5: must be a list of 3 shares"),
        ({"grain__factors": [16, 8]}, "grain.factors = [16, 8]: must be different powers of two"),
        ({"grain__factors": [8, 32]}, "grain.factors = [8, 32]: each factor must be twice the one before"),
        ({"dvae__multipliers": [1, 2, 2, 2], "dvae__patch": 2}, "dvae.multipliers = [1, 2, 2, 2]: must have 3 levels"),
        ({"dvae__multipliers": [1, 2, 2], "dvae__patch": 1}, "dvae.multipliers = [1, 2, 2]: must have 4 levels"),
        ({"dvae__patch": 3}, "dvae.patch = 3: must be a power of two up to the smallest factor, 8"),
        ({"dvae__patch": 16}, "dvae.patch = 16: must be a power of two up to the smallest factor, 8"),
        ({"dvae__channels": 20}, "dvae.channels = 20: must be a multiple of 32, or 8 or 16"),
        ({"dvae__regularizer": "vae"}, "dvae.regularizer = 'vae': must be 'kl' or 'vq'"),
        ({"micro_batch__dvae": 0}, "micro_batch.dvae = 0: must be"),
        ({"sample__steps": 2000}, "sample.steps = 2000: must be at most 1000, with diffusion.timesteps 1000"),
        (
            {"diffusion__objective": "v"},
            "sample.sampler = 'euler': must be ddpm, ddim or dpm-solver++ for diffusion.objective",
        ),
        (
            {"sample__sampler": "dpm-solver++"},
            "sample.sampler = 'dpm-solver++': must be euler or heun for diffusion.objective 'flow'",
        ),
        ({"sample__guidance_channels": 5}, "sample.guidance_channels = 5: must be at most 4, or 'all'"),
        ({"sample__guidance_interval": [0.9, 0.1]}, "sample.guidance_interval = [0.9, 0.1]: must be [from, to]"),
        ({"dvae__chanels": 3}, "dvae.chanels: unknown key; allowed here: adversarial_cap"),
        ({"seed": -1}, "seed = -1: must be >= 0"),
        ({"preview_metrics": 2}, "preview_metrics = 2: must be 0 for none, or at least 3"),
        ({"content_transformer": None}, "content_transformer = None: must be a section with keys"),
    ],
)
def test_a_wrong_value_gives_one_line_with_key_value_and_what_is_allowed(changes: dict[str, Any], line: str) -> None:
    lines = error_of(changed(**changes))
    assert len(lines) == 1
    assert lines[0].startswith(f"params.yaml: {line}")


def test_a_square_is_one_number_in_params_however_it_is_given() -> None:
    """So that the stages' keys and what they write are those of the number."""
    one, two = (check_params(changed(data__image_size=size)) for size in (64, [64, 64]))
    assert one == two
    assert one.model_dump(mode="json")["data"]["image_size"] == 64
    other = check_params(changed(data__image_size=[64, 96], refinenet__window=4))
    assert other.model_dump(mode="json")["data"]["image_size"] == [64, 96]
    assert (other.region_grid, other.latent_grid) == ((4, 6), (8, 12))


def test_all_wrong_keys_are_reported_at_once() -> None:
    values = changed(refinenet__window="x", sample__guidance=-1.0, foo=1)
    del values["fid"]["extractor"]
    text = "\n".join(error_of(values))
    for key in ("refinenet.window", "sample.guidance", "foo: unknown key", "fid.extractor: missing"):
        assert key in text


def test_all_impossible_combinations_are_reported_at_once() -> None:
    lines = error_of(changed(refinenet__window=3, content_transformer__heads=5, grain_transformer__heads=3))
    assert [line.split()[1] for line in lines] == [
        "refinenet.window",
        "grain_transformer.heads",
        "content_transformer.heads",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "not YAML"), ("", "must be a section"), ("- 1", "must be a section"), (None, "no such file")],
)
def test_a_file_that_is_no_params_file_gives_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=message) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_numbers_in_any_common_notation_are_numbers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    demo = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path.write_text(demo.replace("beta_start: 1.0e-4", f"beta_start: {text}"), encoding="utf-8")
    assert load_params(path).diffusion.beta_start == 1e-4


def test_every_key_says_what_it_is() -> None:
    sections = [f.annotation for f in Params.model_fields.values() if isinstance(f.annotation, type)]
    models = [s for s in sections if issubclass(s, Section)]
    assert len(models) == 12
    assert [f"{m.__name__}.{k}" for m in models for k, f in m.model_fields.items() if not f.description] == []
