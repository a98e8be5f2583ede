"""D²iT: Dynamic Diffusion Transformer for Accurate Image Generation, the method alone.

    import d2it

    model = d2it.DynamicContentTransformer(classes=10)  # D²iT-B; d2it.SIZES has the others
    dvae = d2it.load_dvae("outputs/train_dvae")

Nothing is imported before it is asked for: params and command lines need no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2it.dvae.model import DynamicVAE, load_dvae
    from d2it.transformer.content import SIZES, DynamicContentTransformer, load_content
    from d2it.transformer.grain import DynamicGrainTransformer, load_grain

__all__ = [
    "SIZES",
    "DynamicContentTransformer",
    "DynamicGrainTransformer",
    "DynamicVAE",
    "load_content",
    "load_dvae",
    "load_grain",
]

_MODULES = {
    "d2it.dvae.model": ("DynamicVAE", "load_dvae"),
    "d2it.transformer.content": ("SIZES", "DynamicContentTransformer", "load_content"),
    "d2it.transformer.grain": ("DynamicGrainTransformer", "load_grain"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'd2it' has no attribute {name!r}")
