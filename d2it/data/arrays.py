"""Arrays as bytes, to be sent or kept, the same on every version of Python and NumPy."""

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from d2it.files import replacing

Arrays = tuple[NDArray[Any], ...]


def pack(arrays: Arrays) -> bytes:
    """An npz file's content."""
    buffer = io.BytesIO()
    _write_npz(buffer, {f"arr_{i}": array for i, array in enumerate(arrays)})
    return buffer.getvalue()


def unpack(content: bytes) -> Arrays:
    """What `pack` was given, from what it returned; nothing is unpickled."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return tuple(file[f"arr_{i}"] for i in range(len(file.files)))


def save_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Write an npz file, all at once; np.savez writes zip headers that depend on Python's patch version."""
    with replacing(path, durable=True) as part, part.open("wb") as file:
        _write_npz(file, arrays)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type of a .npy file, whose values come next.

    Raises:
        ValueError: not a .npy file.
    """
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"a .npy file of version {version}: must be 1.0 or 2.0")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype


def _write_npz(file: IO[bytes], arrays: dict[str, NDArray[Any]]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            array, header = np.asarray(array, order="C"), io.BytesIO()
            if array.dtype.hasobject:
                raise ValueError(f"{name}: an array of objects: must be numbers or text")
            np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
            entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980
            entry.file_size = len(header.getvalue()) + array.nbytes
            with archive.open(entry, "w") as out:
                out.write(header.getvalue())
                out.write(array.data)
