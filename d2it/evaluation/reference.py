"""Statistics of real images at rest: ours, made once per data set, and those that others publish.

Names and meanings are the ADM evaluator's (Dhariwal and Nichol 2021): `mu` and `sigma`, mean and covariance of pool
features, `mu_s` and `sigma_s` of spatial features, and in `arr_0` images for precision and recall. With Inception's
features that evaluator reads our files, and we read its files; what we add has other names.
"""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2it.data.arrays import Arrays
from d2it.data.imageset import DataError
from d2it.data.samples import IMAGES, Samples, npz_entry
from d2it.errors import UserError
from d2it.evaluation.frechet import Gaussian
from d2it.files import replacing
from d2it.finite import require_finite

EXTRACTOR, INCEPTION = "extractor", "inception"
BLOCK = 256  # images written at a time

Take = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # numbers (B,) -> images (B, H, W, 3)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """All that numbers need of the real images."""

    pool: Gaussian
    spatial: Gaussian | None  # Inception alone
    features: NDArray[np.float32]  # (n, width): pool features of some images, for precision, recall and KID
    originals: Gaussian | None = None  # pool features of the validation images, where `pool` is of others
    classes: Arrays = ()  # `ClassStatistics.arrays` of the training images; none where there are no classes
    agreement: float | None = None  # class agreement of those validation images that have a label


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a reference belongs to."""

    key: str  # all that it depends on
    extractor: str  # identity of the extractor


def save_reference(path: Path, reference: Reference, identity: Identity, *, take: Take | None = None) -> None:
    """Write an npz, all at once.

    Args:
        path: the file.
        reference: what is written.
        identity: what it belongs to.
        take: gives the images whose features are kept, by their number among them; None: the file has no images, and
            the ADM evaluator has no use for it.

    Raises:
        NonFiniteError: a number is NaN or infinite.
    """
    arrays = _to_arrays(reference)
    for name, array in arrays.items():
        require_finite(array, f"{path}: {name}")
    arrays |= {"key": np.array(identity.key), EXTRACTOR: np.array(identity.extractor)}
    with replacing(path, durable=True) as part, zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            with npz_entry(archive, name, array.shape, array.dtype) as out:
                out.write(np.ascontiguousarray(array).data)
        if take is not None:
            count, one = len(reference.features), take(np.arange(0)).shape[1:]
            with npz_entry(archive, IMAGES, (count, *one), np.uint8) as out:
                for start in range(0, count, BLOCK):
                    out.write(take(np.arange(start, min(start + BLOCK, count))).data)


def load_reference(path: Path, identity: Identity) -> Reference | None:
    """What `save_reference` wrote under this very identity; None where there is no such file, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if (file["key"].item(), file[EXTRACTOR].item()) != (identity.key, identity.extractor):
                return None
            return _from_arrays({name: file[name] for name in file.files if name != IMAGES})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file of statistics, of ours or of others, used as it is."""

    pool: Gaussian
    spatial: Gaussian | None
    images: Samples | None  # for precision, recall and KID


def open_published(path: Path, extractor: str) -> Published | None:
    """The statistics in an npz; None where it has none. `extractor`: identity of the one in use.

    Raises:
        DataError: the file is damaged, or its statistics are of another extractor; others' files are of Inception.
        NonFiniteError: a number is NaN or infinite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "mu" not in file.files:
                return None
            theirs = str(file[EXTRACTOR].item()) if EXTRACTOR in file.files else INCEPTION  # of any version
            gaussians = {suffix: _gaussian(path, file, suffix) for suffix in ("", "_s") if f"mu{suffix}" in file.files}
            has_images = IMAGES in file.files
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UserError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged, or not an npz file: {' '.join(str(error).split())}") from None
    if theirs not in (extractor, extractor.split()[0]):
        raise DataError(f"{path}: statistics of features of {theirs}: must be of {extractor}")
    return Published(pool=gaussians[""], spatial=gaussians.get("_s"), images=Samples(path) if has_images else None)


def _gaussian(path: Path, file: Any, suffix: str) -> Gaussian:
    mean, covariance = (np.asarray(file[f"{name}{suffix}"], np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise DataError(f"{path}: mu{suffix} {mean.shape}, sigma{suffix} {covariance.shape}: must be (D,) and (D, D)")
    require_finite(mean, f"{path}: mu{suffix}")
    require_finite(covariance, f"{path}: sigma{suffix}")
    return Gaussian(mean, covariance)


def _to_arrays(reference: Reference) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"mu": reference.pool.mean, "sigma": reference.pool.covariance}
    if reference.spatial is not None:
        arrays |= {"mu_s": reference.spatial.mean, "sigma_s": reference.spatial.covariance}
    if reference.originals is not None:
        arrays |= {"mu_originals": reference.originals.mean, "sigma_originals": reference.originals.covariance}
    if reference.agreement is not None:
        arrays["agreement"] = np.array(reference.agreement)
    arrays |= {f"classes_{i}": array for i, array in enumerate(reference.classes)}
    return arrays | {"features": reference.features}


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> Reference:
    def gaussian(suffix: str) -> Gaussian | None:
        return Gaussian(arrays[f"mu{suffix}"], arrays[f"sigma{suffix}"]) if f"mu{suffix}" in arrays else None

    return Reference(
        pool=Gaussian(arrays["mu"], arrays["sigma"]), spatial=gaussian("_s"), features=arrays["features"],
        originals=gaussian("_originals"),
        classes=tuple(arrays[name] for name in sorted(arrays) if name.startswith("classes_")),
        agreement=float(arrays["agreement"]) if "agreement" in arrays else None,
    )  # fmt: skip
