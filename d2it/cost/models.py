"""What the models of a params file cost: parameters, multiply-adds of one pass over one image, memory of training.

Counted on tensors without values. At its peak, training holds a state (weights, their average, gradients, Adam's
moments) and the activations of each image of a micro-batch; these are counted without dropout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from d2it.cost.memory import Memory, content_inputs, grain_inputs, training_memory
from d2it.counting import META, content_pass, multiply_adds, parameters
from d2it.dvae.model import DynamicVAE
from d2it.params.architecture import content_arguments, dvae_arguments, grain_arguments
from d2it.params.sections import Params
from d2it.size import Size
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model."""

    model: str
    parameters: float  # M
    multiply_adds: dict[str, float]  # G, by fine ratio; by '' where there is none
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None
    memory: Memory | None = None


def of_params(params: Params, classes: int) -> list[Row]:
    """The models of a params file, at its ratio of grains; `classes` of the data."""
    content, grain = content_arguments(params, classes), grain_arguments(params, classes)
    shares, precision = params.grain.shares, params.content_transformer.precision
    with META:
        grain_model, content_model = DynamicGrainTransformer(**grain), DynamicContentTransformer(**content)
    rows = dvae_rows(empty_dvae(params), params.data.image_size)
    inputs = partial(grain_inputs, params.region_grid)
    memory = memory_of(partial(DynamicGrainTransformer, **grain), inputs, params.grain_transformer.precision)
    rows.append(row("grain transformer", grain_model, multiply_adds(lambda: grain_model(**inputs(1))), memory))
    memory = memory_of(
        partial(DynamicContentTransformer, **content), partial(content_inputs, content_model, shares), precision
    )
    cost = multiply_adds(lambda: content_pass(content_model, shares))
    return [*rows, row("content transformer", content_model, cost, memory)]


def empty_dvae(params: Params) -> DynamicVAE:
    """Without values, and without VQ's codebook, which is no parameter and costs hardly an operation."""
    with META:
        return DynamicVAE(**dvae_arguments(params) | {"regularizer": "kl"})


def dvae_halves(dvae: DynamicVAE, size: Size) -> tuple[int, int]:
    """Multiply-adds of encoder and decoder on one image of `size` pixels."""
    pixels = torch.empty(1, 3, *size)
    latents = torch.empty(1, dvae.latent_channels, *size.divided(dvae.factors[0]))
    return (
        multiply_adds(partial(dvae.encoder, pixels.to(META))),
        multiply_adds(partial(dvae.decoder, latents.to(META))),
    )


def dvae_rows(dvae: DynamicVAE, size: Size) -> list[Row]:
    """Of its halves."""
    encoder, decoder = dvae_halves(dvae, size)
    return [row("DVAE, encoder", dvae.encoder, encoder), row("DVAE, decoder", dvae.decoder, decoder)]


def row(name: str, model: nn.Module, cost: int, memory: Memory | None = None) -> Row:
    """Of a model whose cost does not depend on the fine ratio, or is at one; `cost` in multiply-adds."""
    return Row(model=name, parameters=parameters(model) / 1e6, multiply_adds={"": cost / 1e9}, memory=memory)


def memory_of(build: Callable[..., nn.Module], inputs: Callable[[int], Any], precision: str) -> Memory:
    """Of training; `build` takes `activation_checkpointing`, `inputs` a number of images."""

    def model(activation_checkpointing: bool) -> nn.Module:
        return build(activation_checkpointing=activation_checkpointing)

    return training_memory(model, inputs, torch.bfloat16 if precision == "bfloat16" else torch.float32)
