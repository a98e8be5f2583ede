"""All tensors of a training run under flat names, as a checkpoint holds them."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from d2it.saved import put_tensors
from d2it.training.ema import EMA


class HasState(Protocol):
    """A named model and its optimiser."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def optimizer(self) -> torch.optim.Optimizer: ...


def state_tensors(updates: Sequence[HasState], ema: EMA[Any] | None) -> dict[str, Tensor]:
    """Weights, averaged weights and optimiser state: `autoencoder/model/...`, `autoencoder/optimizer/3/exp_avg`, ..."""
    tensors: dict[str, Tensor] = {}
    for update in updates:
        tensors |= {f"{update.name}/model/{name}": x for name, x in update.model.state_dict().items()}
        for index, state in update.optimizer.state_dict()["state"].items():
            tensors |= {f"{update.name}/optimizer/{index}/{key}": torch.as_tensor(x) for key, x in state.items()}
    if ema is not None:
        tensors |= {f"ema/{name}": x for name, x in ema.model.state_dict().items()}
    return tensors


def load_state(updates: Sequence[HasState], ema: EMA[Any] | None, tensors: dict[str, Tensor]) -> None:
    """Put the tensors of `state_tensors` back.

    Raises:
        SavedModelError: they are of another model.
    """
    for update in updates:
        put_tensors(update.model, _below(f"{update.name}/model/", tensors), f"checkpoint of {update.name}")
        parameters = [p for group in update.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, x in _below(f"{update.name}/optimizer/", tensors).items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], x)
        groups = update.optimizer.state_dict()["param_groups"]
        update.optimizer.load_state_dict({"state": state, "param_groups": groups})
    if ema is not None:
        put_tensors(ema.model, _below("ema/", tensors), "checkpoint of the averaged weights")


def _laid_out_as(parameter: Tensor, x: Tensor) -> Tensor:
    """A fused optimiser goes through memory: moments read from a file would meet the wrong weights of a channels-last
    parameter."""
    return torch.empty_like(parameter).copy_(x) if x.shape == parameter.shape else x


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
