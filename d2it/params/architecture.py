"""What params.yaml says of each model: the arguments of its constructor, and the key of each."""

from operator import attrgetter
from typing import Any

from d2it.params.sections import Params
from d2it.size import Size

# Argument -> key of params.yaml, or a size that follows from several keys. `classes` is the data's.
DVAE = {
    name: f"dvae.{name}"
    for name in ("channels", "multipliers", "res_blocks", "patch", "latent_channels", "regularizer", "codebook_size")
} | {"factors": "grain.factors"}
GRAIN = {name: f"grain_transformer.{name}" for name in ("layers", "width", "heads", "dropout")} | {
    "grains": "grain.grains", "region_grid": "region_grid",
}  # fmt: skip
CONTENT = {name: f"content_transformer.{name}" for name in ("layers", "width", "heads", "dropout", "qk_norm")} | {
    "refinenet_layers": "refinenet.layers", "window": "refinenet.window", "tokens": "refinenet.tokens",
    "position": "refinenet.position", "factors": "grain.factors", "latent_grid": "latent_grid",
    "latent_channels": "dvae.latent_channels",
}  # fmt: skip


def value_at(params: Params, key: str) -> Any:
    """The value of a key such as 'refinenet.window', as files have it."""
    value = attrgetter(key)(params)
    return value.plain if isinstance(value, Size) else value


def dvae_arguments(params: Params) -> dict[str, Any]:
    """Of DynamicVAE."""
    return {argument: value_at(params, key) for argument, key in DVAE.items()}


def grain_arguments(params: Params, classes: int) -> dict[str, Any]:
    """Of DynamicGrainTransformer."""
    return {argument: value_at(params, key) for argument, key in GRAIN.items()} | {"classes": classes}


def content_arguments(params: Params, classes: int) -> dict[str, Any]:
    """Of DynamicContentTransformer."""
    return {argument: value_at(params, key) for argument, key in CONTENT.items()} | {"classes": classes}
