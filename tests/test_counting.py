"""Counted multiply-adds against PyTorch's own counter, with values and without."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from d2it.counting import META, content_pass, multiply_adds, size_numbers
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer
from tools.deps import ROOT


def content() -> tuple[nn.Module, Callable[[], object]]:
    sizes = {"layers": 2, "refinenet_layers": 1, "width": 32, "heads": 2, "window": 4, "latent_grid": 8, "classes": 3}
    model = DynamicContentTransformer(**sizes)
    return model, lambda: content_pass(model, [0.5, 0.5])


def grain() -> tuple[nn.Module, Callable[[], object]]:
    model = DynamicGrainTransformer(layers=2, width=32, heads=2, classes=3, region_grid=4, grains=2)
    t = torch.zeros(1, dtype=torch.int64, device=torch.get_default_device())
    return model, lambda: model(torch.zeros(1, 1, 4, 4), t, t)


@pytest.mark.parametrize("make", [content, grain])
def test_multiply_adds_are_half_of_pytorchs_operations_with_values_and_without(
    make: Callable[[], tuple[nn.Module, Callable[[], object]]],
) -> None:
    with META:
        _, run = make()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            run()
    assert 0 < 2 * multiply_adds(run) == counter.get_total_flops()
    model, run = make()
    assert size_numbers(model.eval(), run) == {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "multiply_adds": counter.get_total_flops() // 2,
    }


@pytest.mark.slow
def test_counting_a_trained_model_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from d2it.counting import size_numbers; m = torch.nn.Linear(3, 5); "
        "assert size_numbers(m, lambda: m(torch.zeros(1, 3)))['multiply_adds'] == 15; "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
