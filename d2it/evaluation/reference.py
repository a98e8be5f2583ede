"""Statistics of the reference images, made once per data set and kept in a file that names what they are of."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2it.data.arrays import save_npz
from d2it.evaluation.frechet import Gaussian


@dataclass(frozen=True)
class Reference:
    """What distances to the reference images need."""

    pool: Gaussian
    spatial: Gaussian
    features: NDArray[np.float32]  # (n, 2048): pool features of the first images


def save_reference(path: Path, reference: Reference, key: str) -> None:
    """Write an npz, all at once; means and covariances have the names of the ADM evaluator's reference files."""
    save_npz(
        path, key=np.array(key), mu=reference.pool.mean, sigma=reference.pool.covariance, mu_s=reference.spatial.mean,
        sigma_s=reference.spatial.covariance, features=reference.features,
    )  # fmt: skip


def load_reference(path: Path, key: str) -> Reference | None:
    """What `save_reference` wrote under this very key; None where there is no such file, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["key"].item() != key:
                return None
            return Reference(
                Gaussian(file["mu"], file["sigma"]), Gaussian(file["mu_s"], file["sigma_s"]), file["features"]
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
