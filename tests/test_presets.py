"""Presets are complete, and hold the paper's sizes."""

from pathlib import Path

import pytest
import yaml

from d2it import params
from d2it.cost import SIZES
from tools.deps import ROOT

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_a_preset_says_its_command_data_cost_and_the_papers_result(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert all(f"# {word}:" in text for word in ("Command", "Data", "Cost", "Result"))
    assert params.load(path)


@pytest.mark.parametrize("path", [p for p in PRESETS if p.stem != "demo"], ids=lambda p: p.stem)
def test_a_preset_has_the_papers_size_and_training(path: Path) -> None:
    found = params.load(path)
    size = SIZES[path.stem.split("_")[1].upper()]
    content, refinenet, dvae = found.content, found.refinenet, found.dvae
    assert (content_transformer.layers, refinenet.layers, content_transformer.width, content_transformer.heads) == (
        size.layers,
        size.refinenet_layers,
        size.width,
        size.heads,
    )
    assert (
        content_transformer.batch_size,
        content_transformer.learning_rate,
        content_transformer.ema_decay,
        content_transformer.dropout,
    ) == (256, 1e-4, 0.9999, 0.1)
    assert (dvae.channels, dvae.multipliers, dvae.perceptual_weight, dvae.adversarial_weight) == (
        128,
        [1, 2, 4, 4],
        1,
        0.75,
    )
    assert (found.grain.factors, found.grain.fine_ratio, refinenet.window) == ([8, 16], 0.5, 16)
    assert (found.sample.sampler, found.sample.steps, found.fid.extractor) == ("ddpm", 250, "inception")


def test_the_demo_preset_is_params_yaml() -> None:
    read = [yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("params.yaml", "presets/demo.yaml")]
    assert read[0] == read[1]
