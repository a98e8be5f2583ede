"""Memory counted without allocating any is what a real pass keeps."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from d2it.cost import Size, content_inputs, content_transformer, dit, dit_inputs, parameters
from d2it.memory import STATE_BYTES, kept_for_backward, training_memory

SMALL = Size(2, 2, 32, 4, 0, 0, (0, 0, 0))
PRECISIONS = pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])


def small_dit(checkpointing: bool) -> nn.Module:
    return dit(SMALL, 2, checkpointing)


def small_content(checkpointing: bool) -> nn.Module:
    return content_transformer(SMALL, checkpointing)


MODELS = pytest.mark.parametrize(
    ("build", "inputs"), [(small_dit, dit_inputs), (small_content, content_inputs)], ids=["DiT", "D²iT"]
)


@MODELS
@PRECISIONS
@pytest.mark.parametrize("checkpointing", [False, True])
def test_tensors_without_values_keep_what_a_real_pass_keeps(
    build: Callable[[bool], nn.Module],
    inputs: Callable[[int], Sequence[Any]],
    precision: torch.dtype,
    checkpointing: bool,
) -> None:
    batch = inputs(2)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        real = kept_for_backward(build(checkpointing), *batch)
        with FakeTensorMode(allow_non_fake_inputs=True):
            counted = kept_for_backward(build(checkpointing), *batch)
    assert counted == real
    assert real[0] > 0


@MODELS
@PRECISIONS
def test_checkpointing_needs_less(
    build: Callable[[bool], nn.Module], inputs: Callable[[int], Sequence[Any]], precision: torch.dtype
) -> None:
    memory = training_memory(build, inputs, precision)
    assert 0 < memory.checkpointed < memory.kept
    assert memory.state == pytest.approx(STATE_BYTES * parameters(build(False)) / 1e3)


def test_half_the_precision_takes_between_half_and_all_of_the_memory() -> None:
    whole, half = (training_memory(small_content, content_inputs, p).kept for p in (torch.float32, torch.bfloat16))
    assert whole / 2 < half < whole


def test_each_image_takes_as_much_as_the_one_before() -> None:
    one, two, three = (kept_for_backward(small_dit(False), *dit_inputs(n))[0] for n in (1, 2, 3))
    assert three - two == two - one
