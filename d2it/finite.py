"""NaN and infinity end a stage where they arise: no black samples, no distance of 0, nothing of them in a file."""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it.errors import NonFiniteError

Values = TypeVar("Values", Tensor, NDArray[np.floating])


def require_finite(x: Values, what: str) -> Values:
    """`x` itself, of any shape and floating dtype; `what`: its name in the message.

    Raises:
        NonFiniteError: it holds NaN or infinity.
    """
    finite = torch.isfinite(x) if isinstance(x, Tensor) else np.isfinite(x)
    if not bool(finite.all()):
        good, count = int(finite.sum()), int(np.prod(x.shape))
        raise NonFiniteError(f"{what}: {count - good} of {count} values are NaN or infinite")
    return x
