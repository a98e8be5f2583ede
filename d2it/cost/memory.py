"""Memory that training takes, counted without allocating any: PyTorch's fake tensors have sizes but no values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from d2it.counting import RoutedModel, example_maps
from d2it.size import Size
from d2it.transformer.dit import AdaLNZeroBlock

STATE_BYTES = 20  # per parameter, float32: weight, its average, gradient, Adam's two moments


@dataclass(frozen=True)
class Memory:
    """What training holds at its peak: state + images x kept (bfloat16 also takes 2 bytes per parameter)."""

    state: float  # GB, float32
    kept: float  # MB per image of the micro-batch: activations kept for the backward pass
    checkpointed: float  # MB per image with activation checkpointing, what one block recomputes included


def training_memory(
    build: Callable[[bool], nn.Module], inputs: Callable[[int], Mapping[str, Any]], precision: torch.dtype
) -> Memory:
    """Of a transformer under autocast, with a CPU's kernels; a GPU's keep about as much.

    Args:
        build: the transformer, with activation checkpointing or without.
        inputs: arguments of its `forward`, real tensors, for a number of images.
        precision: bfloat16 or float32.
    """
    one, two = inputs(1), inputs(2)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.autocast("cpu", precision, enabled=precision != torch.float32),
    ):
        plain, checkpointing = build(False), build(True)
        kept, block = _another_image(plain, one, two)
        checkpointed, _ = _another_image(checkpointing, one, two)
    parameters = sum(p.numel() for p in plain.parameters())
    return Memory(STATE_BYTES * parameters / 1e9, kept / 1e6, (checkpointed + block) / 1e6)


def content_inputs(model: RoutedModel, shares: Sequence[float], images: int) -> dict[str, Any]:
    """Arguments of a content transformer's `forward`, all zero but the grain maps and their routes.

    Routes depend on values, so that they are planned here and not where nothing has values.
    """
    grid = Size.of(model.architecture["latent_grid"])
    grain_map = example_maps(shares, grid.divided(model.copies[0]), images)
    zeros = dit_inputs(model.architecture["latent_channels"], grid, images)
    return zeros | {"grain_map": grain_map, "routes": model.route(grain_map)}


def dit_inputs(channels: int, grid: Size, images: int) -> dict[str, Tensor]:
    """Arguments of a DiT's `forward`, all zero."""
    t = torch.zeros(images, dtype=torch.int64)
    return {"z": torch.zeros(images, channels, *grid), "t": t, "labels": t}


def grain_inputs(grid: Size, images: int) -> dict[str, Tensor]:
    """Arguments of a grain transformer's `forward`, all zero."""
    zeros = dit_inputs(1, grid, images)
    return {"noisy_map": zeros["z"], "t": zeros["t"], "labels": zeros["labels"]}


def _another_image(model: nn.Module, one: Mapping[str, Any], two: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes kept for one image more: by all, and by the block that keeps most; weights in bfloat16 cancel."""
    all_of_one, block_of_one = kept_for_backward(model, one)
    all_of_two, block_of_two = kept_for_backward(model, two)
    return all_of_two - all_of_one, block_of_two - block_of_one


def kept_for_backward(model: nn.Module, batch: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes that model(**batch) keeps for its backward pass beside weights: all, and the block's that keeps most."""
    own = {x.untyped_storage()._cdata for x in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # each once, however many operations share it
    largest = before = 0

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return x

    def total() -> int:
        return sum(storage.nbytes() for storage in kept.values())

    def enter(_: nn.Module, __: object) -> None:
        nonlocal before
        before = total()

    def leave(_: nn.Module, __: object, ___: object) -> None:
        nonlocal largest
        largest = max(largest, total() - before)

    blocks = [module for module in model.modules() if isinstance(module, AdaLNZeroBlock)]
    hooks = [block.register_forward_pre_hook(enter) for block in blocks]
    hooks += [block.register_forward_hook(leave) for block in blocks]
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            model(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return total(), largest
