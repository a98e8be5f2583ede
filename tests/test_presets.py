"""Presets are complete, and hold the paper's sizes."""

import re
from pathlib import Path

import pytest

from d2it.cost.data_size import IMAGENET, DataSize
from d2it.cost.rate import assumed
from d2it.cost.stages import stage_costs
from d2it.counting import META
from d2it.dvae.model import SIZES as DVAE_SIZES
from d2it.dvae.model import DynamicVAE
from d2it.params.architecture import content_arguments, dvae_arguments, grain_arguments
from d2it.params.load import load_params
from d2it.transformer.content import SIZES, DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer
from d2it.yaml import read_yaml
from tools.deps import ROOT

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
OURS = ("demo", "laptop")  # not of the paper's sizes


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_a_preset_says_its_command_data_cost_and_the_papers_result(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert all(f"# {word}:" in text for word in ("Command", "Data", "Cost", "Result"))
    assert load_params(path)


@pytest.mark.parametrize("path", [p for p in PRESETS if p.stem not in OURS], ids=lambda p: p.stem)
def test_a_preset_has_the_papers_size_and_training(path: Path) -> None:
    p, size = load_params(path), SIZES[path.stem.split("_")[1].upper()]
    content, dvae = content_arguments(p, 0), dvae_arguments(p)
    trained = p.content_transformer
    assert {key: content[key] for key in size} == size
    assert (trained.batch_size, trained.learning_rate, trained.ema_decay, trained.dropout) == (256, 1e-4, 0.9999, 0.1)
    assert {key: dvae[key] for key in DVAE_SIZES["paper"]} == {
        "channels": 128,
        "multipliers": [1, 2, 4, 4],
        "res_blocks": 2,
        "patch": 1,
    }
    assert (p.dvae.perceptual, p.dvae.perceptual_weight) == ("lpips", 1)
    assert (p.dvae.adversarial_weight, p.dvae.adversarial_cap) == (1, 0.75)  # our reading of the paper's 0.75
    assert (p.grain.factors, p.grain.fine_ratio, p.refinenet.window) == ([8, 16], 0.5, 16)
    assert (p.diffusion.objective, trained.qk_norm) == ("epsilon", False)
    assert (p.sample.sampler, p.sample.steps, p.fid.extractor) == ("ddpm", 250, "inception")


@pytest.mark.parametrize(
    ("name", "epochs"), [("ffhq_b", 50), ("ffhq_l", 800), ("imagenet_l", 800), ("imagenet_xl", 800)]
)
def test_a_preset_trains_for_the_papers_epochs(name: str, epochs: int) -> None:
    images = {"ffhq": 60_000, "imagenet": 1_281_167}[name.split("_")[0]]
    trained = load_params(ROOT / "presets" / f"{name}.yaml").content_transformer
    assert trained.images == epochs * images


@pytest.mark.parametrize("path", [p for p in PRESETS if p.stem not in OURS], ids=lambda p: p.stem)
def test_a_preset_of_the_papers_sizes_is_what_the_models_are_by_default(path: Path) -> None:
    """But for its size, its dropout, and the classes of its data."""
    p, size = load_params(path), SIZES[path.stem.split("_")[1].upper()]
    with META:
        model, dvae = DynamicContentTransformer(**size, classes=7, dropout=0.1), DynamicVAE()
        grain = DynamicGrainTransformer(classes=7, dropout=p.grain_transformer.dropout)
    assert content_arguments(p, 7) == model.architecture
    assert dvae_arguments(p) == dvae.architecture
    assert grain_arguments(p, 7) == grain.architecture


def test_the_demo_preset_is_params_yaml() -> None:
    demo = [read_yaml((ROOT / name).read_text(encoding="utf-8")) for name in ("params.yaml", "presets/demo.yaml")]
    assert demo[0] == demo[1]


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in PRESETS if p.stem not in OURS], ids=lambda p: p.stem)
def test_a_preset_names_the_cost_of_its_trainings_and_the_hours_of_all_stages(path: Path) -> None:
    stated = re.search(
        r"takes ([\d.]+) EFLOP for the DVAE, ([\d.]+) for the grain transformer and ([\d.]+) for the content"
        r".*? about (\d+) hours",
        path.read_text(encoding="utf-8"), re.DOTALL,
    )  # fmt: skip
    assert stated is not None
    data = IMAGENET if path.stem.startswith("imagenet") else DataSize(60_000, 10_000, 0)
    costs = {cost.stage: cost for cost in stage_costs(load_params(path), data)}
    trained = [costs[f"train_{name}"].operations / 1e18 for name in ("dvae", "grain", "content")]
    hours = sum(assumed().seconds(cost.bfloat16, cost.float32) for cost in costs.values()) / 3600
    assert [float(number) for number in stated.groups()] == pytest.approx([*trained, hours], rel=0.01, abs=0.5)
