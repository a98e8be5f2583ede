"""All tensors of a training run under flat names, as a checkpoint holds them."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from d2it.ranks.sharding import sharded_as, whole
from d2it.saved import put_tensors
from d2it.training.adam import Optimizer
from d2it.training.ema import EMA


class HasState(Protocol):
    """A named model and its optimiser."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def optimizer(self) -> Optimizer: ...


def state_tensors(updates: Sequence[HasState], ema: EMA[Any] | None, *, keep: bool = True) -> dict[str, Tensor]:
    """Weights, averaged weights and optimiser state: `autoencoder/model/...`, `autoencoder/optimizer/3/exp_avg`, ...

    Sharded ones are gathered, one after the other, into the host's memory: all ranks call this, and those that do not
    `keep` them get none.
    """
    tensors: dict[str, Tensor] = {}
    for name, x in _named_tensors(updates, ema):
        gathered = whole(x)
        if keep:
            tensors[name] = gathered if gathered is x else gathered.cpu()
    return tensors


def _named_tensors(updates: Sequence[HasState], ema: EMA[Any] | None) -> Iterator[tuple[str, Tensor]]:
    for update in updates:
        yield from ((f"{update.name}/model/{name}", x) for name, x in update.model.state_dict().items())
        for index, state in update.optimizer.state_dict()["state"].items():
            yield from ((f"{update.name}/optimizer/{index}/{key}", torch.as_tensor(x)) for key, x in state.items())
    if ema is not None:
        yield from ((f"ema/{name}", x) for name, x in ema.model.state_dict().items())


def load_state(updates: Sequence[HasState], ema: EMA[Any] | None, tensors: dict[str, Tensor]) -> None:
    """Put the tensors of `state_tensors` back.

    Raises:
        SavedModelError: they are of another model.
    """
    for update in updates:
        put_tensors(
            update.model, _shares(update.model, f"{update.name}/model/", tensors), f"checkpoint of {update.name}"
        )
        parameters = [p for group in update.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, x in _below(f"{update.name}/optimizer/", tensors).items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], x)
        groups = update.optimizer.state_dict()["param_groups"]
        update.optimizer.load_state_dict({"state": state, "param_groups": groups})
    if ema is not None:
        put_tensors(ema.model, _shares(ema.model, "ema/", tensors), "checkpoint of the averaged weights")


def _laid_out_as(parameter: Tensor, x: Tensor) -> Tensor:
    """A fused optimiser goes through memory: moments read from a file would meet the wrong weights of a channels-last
    parameter. Of a sharded one, this rank's share."""
    return torch.empty_like(parameter).copy_(sharded_as(x, parameter)) if x.shape == parameter.shape else x


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def _shares(model: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those below the prefix, each as the model holds it: this rank's share, where the model is sharded."""
    held = model.state_dict()
    below = _below(prefix, tensors)
    return {name: sharded_as(x, held[name]) if name in held else x for name, x in below.items()}
