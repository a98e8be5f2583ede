"""torch.compile of a transformer's layers: one graph for all layers of a kind, whatever the number of tokens."""

from torch import nn


def compile_layers(model: nn.Module) -> None:
    """Compile the layers in the model's innermost lists (`nn.ModuleList`), in place: names and weights stay.

    They are compiled when they are first called: a minute or two on a GPU, and not again when grain maps change.
    """
    for layers in model.modules():
        if isinstance(layers, nn.ModuleList) and not any(_holds_lists(layer) for layer in layers):
            for layer in layers:
                layer.compile(dynamic=True)


def _holds_lists(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.ModuleList) for inner in module.modules())
