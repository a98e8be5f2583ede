"""What params.yaml says of each model: the arguments of its constructor, and the key of each."""

from typing import Any

from d2it.params.sections import Params

# Argument -> key of params.yaml, or a size that follows from several keys. `classes` is the data's.
DVAE = {
    "channels": "dvae.channels",
    "multipliers": "dvae.multipliers",
    "res_blocks": "dvae.res_blocks",
    "latent_channels": "dvae.latent_channels",
    "regularizer": "dvae.regularizer",
    "codebook_size": "dvae.codebook_size",
    "factors": "grain.factors",
}
GRAIN = {
    "layers": "grain_transformer.layers",
    "width": "grain_transformer.width",
    "heads": "grain_transformer.heads",
    "dropout": "grain_transformer.dropout",
    "grains": "grain.grains",
    "region_grid": "region_grid",
}
CONTENT = {
    "layers": "content_transformer.layers",
    "width": "content_transformer.width",
    "heads": "content_transformer.heads",
    "dropout": "content_transformer.dropout",
    "refinenet_layers": "refinenet.layers",
    "window": "refinenet.window",
    "tokens": "refinenet.tokens",
    "position": "refinenet.position",
    "factors": "grain.factors",
    "latent_grid": "latent_grid",
    "latent_channels": "dvae.latent_channels",
}


def value_at(params: Params, key: str) -> Any:
    """The value of a key such as 'refinenet.window'."""
    value: Any = params
    for part in key.split("."):
        value = getattr(value, part)
    return value


def dvae_arguments(params: Params) -> dict[str, Any]:
    """Of DynamicVAE."""
    return {argument: value_at(params, key) for argument, key in DVAE.items()}


def grain_arguments(params: Params, classes: int) -> dict[str, Any]:
    """Of DynamicGrainTransformer."""
    return {argument: value_at(params, key) for argument, key in GRAIN.items()} | {"classes": classes}


def content_arguments(params: Params, classes: int) -> dict[str, Any]:
    """Of DynamicContentTransformer."""
    return {argument: value_at(params, key) for argument, key in CONTENT.items()} | {"classes": classes}
