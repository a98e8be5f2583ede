"""Memory counted without allocating any is what a real pass keeps."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from d2it.cost.memory import STATE_BYTES, content_inputs, dit_inputs, kept_for_backward, training_memory
from d2it.counting import parameters
from d2it.size import Size
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.dit import Blocks, DiT

PRECISIONS = pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])


def small_dit(checkpointing: bool) -> nn.Module:
    blocks = Blocks(layers=4, width=32, heads=4, recompute=checkpointing)
    return DiT(blocks, grid=Size.of(32), patch=2, channels_in=4, channels_out=8, classes=10)


def small_content(checkpointing: bool) -> DynamicContentTransformer:
    return DynamicContentTransformer(
        layers=2, refinenet_layers=2, width=32, heads=4, classes=10, activation_checkpointing=checkpointing
    )


of_dit = partial(dit_inputs, 4, Size.of(32))
of_content = partial(content_inputs, small_content(False), [0.5, 0.5])


MODELS = pytest.mark.parametrize(
    ("build", "inputs"), [(small_dit, of_dit), (small_content, of_content)], ids=["DiT", "D²iT"]
)


@MODELS
@PRECISIONS
@pytest.mark.parametrize("checkpointing", [False, True])
def test_tensors_without_values_keep_what_a_real_pass_keeps(
    build: Callable[[bool], nn.Module],
    inputs: Callable[[int], Mapping[str, Any]],
    precision: torch.dtype,
    checkpointing: bool,
) -> None:
    batch = inputs(2)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        real = kept_for_backward(build(checkpointing), batch)
        with FakeTensorMode(allow_non_fake_inputs=True):
            counted = kept_for_backward(build(checkpointing), batch)
    assert counted == real
    assert real[0] > 0


@MODELS
@PRECISIONS
def test_checkpointing_needs_less(
    build: Callable[[bool], nn.Module], inputs: Callable[[int], Mapping[str, Any]], precision: torch.dtype
) -> None:
    memory = training_memory(build, inputs, precision)
    assert 0 < memory.checkpointed < memory.kept
    assert memory.state == pytest.approx(STATE_BYTES * parameters(build(False)) / 1e9)


def test_half_the_precision_takes_between_half_and_all_of_the_memory() -> None:
    whole, half = (training_memory(small_content, of_content, p).kept for p in (torch.float32, torch.bfloat16))
    assert whole / 2 < half < whole


def test_each_image_takes_as_much_as_the_one_before() -> None:
    one, two, three = (kept_for_backward(small_dit(False), of_dit(n))[0] for n in (1, 2, 3))
    assert three - two == two - one
