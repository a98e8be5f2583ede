"""D²iT: Dynamic Diffusion Transformer for Accurate Image Generation, the method alone.

    import d2it

    model = d2it.DynamicContentTransformer(classes=10)  # D²iT-B; d2it.SIZES has the others
    model = d2it.load("outputs")  # trained: model.sample(classes=[3], seeds=[0])

Nothing is imported before it is asked for: params and command lines need no PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
