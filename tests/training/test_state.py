"""State that was at rest is the state that was saved, whatever the layout of its tensors in memory."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from d2it.training.state import load_state, state_tensors


@dataclass
class Trained:
    """A convolution and its optimiser."""

    name: str
    model: nn.Conv2d
    optimizer: torch.optim.Optimizer

    def step(self, number: int) -> None:
        """Three of them make every moment of Adam matter."""
        images = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(number))
        self.optimizer.zero_grad()
        (self.model(images) ** 2).sum().backward()
        self.optimizer.step()


def start(layout: torch.memory_format, fused: bool) -> Trained:
    torch.manual_seed(0)
    model = nn.Conv2d(8, 4, 3).to(memory_format=layout)
    return Trained("toy", model, torch.optim.Adam(model.parameters(), 0.1, fused=fused))


def at_rest(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As a file gives them back."""
    return {name: x.detach().contiguous().clone() for name, x in tensors.items()}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("fused", [True, False])
def test_an_optimiser_goes_on_to_the_same_bytes(layout: torch.memory_format, fused: bool) -> None:
    whole, first, second = (start(layout, fused) for _ in range(3))
    for number in range(4):
        whole.step(number)
    for number in range(2):
        first.step(number)
    load_state([second], None, at_rest(state_tensors([first], None)))
    for number in range(2, 4):
        second.step(number)
    assert torch.equal(whole.model.weight, second.model.weight)
