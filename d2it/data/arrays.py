"""Arrays as bytes, to be sent or kept."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]


def pack(arrays: Arrays) -> bytes:
    """An npz file's content."""
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def unpack(content: bytes) -> Arrays:
    """What `pack` was given, from what it returned; nothing is unpickled."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return tuple(file[f"arr_{i}"] for i in range(len(file.files)))
