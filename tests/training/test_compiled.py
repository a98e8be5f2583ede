"""Compiled layers: the same numbers, one graph for any number of tokens."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from d2it.training.compiled import compile_layers
from d2it.transformer.content import DynamicContentTransformer

pytestmark = pytest.mark.slow


def model(**changes: object) -> DynamicContentTransformer:
    torch.manual_seed(0)
    sizes = {"layers": 3, "refinenet_layers": 2, "width": 32, "heads": 2, "window": 4, "latent_grid": 8, "classes": 3}
    made = DynamicContentTransformer(**sizes | changes)
    for p in made.parameters():  # heads and gates start at zero
        torch.nn.init.normal_(p, std=0.05)
    return made


def inputs(images: int, seed: int) -> tuple[Tensor, ...]:
    """Another grain map for each seed, and with it another number of tokens."""
    g = torch.Generator().manual_seed(seed)
    grain_map = (torch.rand(images, 4, 4, generator=g) < 0.2 + 0.1 * seed).to(torch.uint8)
    z = torch.randn(images, 4, 8, 8, generator=g)
    return z, torch.arange(images), torch.zeros(images, dtype=torch.int64), grain_map


@pytest.mark.parametrize(
    "changes",
    [{}, *(pytest.param({key: True}, marks=pytest.mark.exhaustive) for key in ("qk_norm", "activation_checkpointing"))],
)
def test_grain_maps_may_change_without_compiling_again(changes: dict[str, object]) -> None:
    torch._dynamo.reset()
    plain, compiled = model(**changes), model(**changes)
    counter = CompileCounterWithBackend("aot_eager")
    with torch._dynamo.config.patch(suppress_errors=False):
        original = torch.nn.Module.compile
        try:
            torch.nn.Module.compile = lambda self, **given: original(self, backend=counter, **given)  # type: ignore[method-assign]
            compile_layers(compiled)
        finally:
            torch.nn.Module.compile = original  # type: ignore[method-assign]
        frames = []
        for seed in range(6):
            outputs = [each(*inputs(4, seed)) for each in (plain, compiled)]
            torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-4)
            gradients = [torch.autograd.grad(out.square().sum(), each.refinenets[0].expand.weight)[0]
                         for out, each in zip(outputs, (plain, compiled), strict=True)]  # fmt: skip
            torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-3)
            frames.append(counter.frame_count)
    assert 0 < frames[1] == frames[-1], f"graphs after each batch: {frames}"


def test_names_of_weights_stay() -> None:
    compiled = model()
    compile_layers(compiled)
    assert list(compiled.state_dict()) == list(model().state_dict())
