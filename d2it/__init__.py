"""D²iT: Dynamic Diffusion Transformer for Accurate Image Generation, the method alone.

    import d2it

    model = d2it.DynamicContentTransformer(classes=10)  # D²iT-B; d2it.SIZES has the others
    dvae = d2it.load_dvae("outputs/train_dvae")

Nothing is imported before it is asked for: params and command lines need no PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
