"""DiT's initial weights."""

from torch import nn

from d2it.transformer.block import AdaLNZeroBlock, Head
from d2it.transformer.embeddings import TimestepEmbedding


def initialize(model: nn.Module) -> None:
    """Set DiT's initial weights in place.

    Xavier for linear maps, N(0, 0.02²) for the embeddings of class and timestep, zero for every modulation and head:
    each block starts as the identity, and each model as zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, TimestepEmbedding):
            nn.init.normal_(module.first.weight, std=0.02)
            nn.init.normal_(module.second.weight, std=0.02)
        elif isinstance(module, AdaLNZeroBlock | Head):
            nn.init.zeros_(module.modulation.weight)
            if isinstance(module, Head):
                nn.init.zeros_(module.linear.weight)
