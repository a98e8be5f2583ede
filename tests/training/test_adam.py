"""Our Adam against PyTorch's classes, whose function it calls."""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from d2it.training.adam import Adam, Optimizer
from tools.deps import ROOT

KINDS: dict[str, tuple[type[torch.optim.Adam], dict[str, Any]]] = {
    "the transformers'": (torch.optim.AdamW, {"weight_decay": 0.05}),
    "without decay": (torch.optim.AdamW, {"weight_decay": 0.0}),
    "the autoencoder's": (torch.optim.Adam, {"betas": (0.5, 0.9)}),
}


def model(layout: torch.memory_format = torch.contiguous_format) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(memory_format=layout)


def step(trained: nn.Module, optimizer: Optimizer, number: int) -> None:
    """Another learning rate each time; the second layer has no gradient in the first step."""
    images = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    trained[: 1 if number == 0 else 2](images).square().sum().backward()  # type: ignore[index]
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * (number + 1)
    optimizer.step()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_state_are_pytorchs_to_the_byte(kind: str, layout: torch.memory_format) -> None:
    theirs_of, settings = KINDS[kind]
    ours, theirs = model(layout), model(layout)
    adam, reference = Adam(ours.parameters(), **settings), theirs_of(theirs.parameters(), fused=True, **settings)
    for number in range(5):
        step(ours, adam, number)
        step(theirs, reference, number)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
    states = adam.state_dict()["state"], reference.state_dict()["state"]
    assert states[0].keys() == states[1].keys()
    for i, state in states[0].items():
        assert state.keys() == states[1][i].keys()
        assert all(torch.equal(x, states[1][i][name]) for name, x in state.items())


def test_a_state_of_pytorchs_goes_on_to_the_same_bytes() -> None:
    """Checkpoints of either are those of both."""
    ours, theirs = model(), model()
    reference = torch.optim.AdamW(theirs.parameters(), weight_decay=0.05, fused=True)
    for number in range(3):
        step(theirs, reference, number)
    adam = Adam(ours.parameters(), weight_decay=0.05)
    ours.load_state_dict(theirs.state_dict())
    adam.load_state_dict(copy.deepcopy(reference.state_dict()))
    before = adam.state_dict()["state"][0]["exp_avg"].clone()
    step(ours, adam, 3)
    step(theirs, reference, 3)
    assert not torch.equal(adam.state_dict()["state"][0]["exp_avg"], before)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.slow
def test_a_step_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from d2it.training.adam import Adam; p = torch.nn.Parameter(torch.ones(3)); "
        "p.sum().backward(); Adam([p]).step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
