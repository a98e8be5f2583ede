"""Real photos, extractors that need no download, and the comparison of a number with an oracle's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor

from d2it.evaluation.efficientnet import EfficientNetFeatures, open_efficientnet
from d2it.evaluation.inception import InceptionFeatures, _empty_network, load_inception_weights

CPU = torch.device("cpu")


def near(metric: str, ours: float, oracle: float, source: str, at_most: float = 1e-6) -> None:
    """Their relative difference is small; `pytest -s` prints it as a row of the table in docs/evaluation.md."""
    difference = abs(ours - oracle) / abs(oracle)
    print(f"\n| {metric} | {ours:.10g} | {oracle:.10g}, {source} | {difference:.1e} |")
    assert difference <= at_most, (metric, ours, oracle)


def distance_of_features(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Frechet distance of features (N, D) and (M, D) without covariance or root, in float64.

    The trace of (C_x C_y)^½ is the sum of singular values of X Yᵀ, of centred features.
    """
    mx, my = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    X, Y = (x - mx) / np.sqrt(len(x) - 1), (y - my) / np.sqrt(len(y) - 1)
    overlap = np.linalg.svd(X @ Y.T, compute_uv=False).sum()
    return float(((mx - my) ** 2).sum() + (X**2).sum() + (Y**2).sum() - 2 * overlap)


def random_weights(seed: int) -> dict[str, Tensor]:
    """Of the Inception network, at a scale that keeps that of activations (He et al. 2015); normalisation does nothing.

    Features differ between images, but mean nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, empty in _empty_network().state_dict().items():
        if name.endswith(("conv.weight", "fc.weight")):
            fan_in = empty[0].numel()
            weights[name] = torch.randn(empty.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif name.endswith(("bn.weight", "running_var")):
            weights[name] = torch.ones(empty.shape)
        else:
            weights[name] = torch.zeros(empty.shape, dtype=empty.dtype)
    return weights


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torch-fidelity's, with weights of our own."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(random_weights(seed=1), path)
    return path


@pytest.fixture(scope="session")
def extractor(weights_file: Path) -> InceptionFeatures:
    """The Inception network of `weights_file`."""
    return InceptionFeatures(load_inception_weights(weights_file), "of a test", CPU)


@pytest.fixture(scope="session")
def efficientnet() -> EfficientNetFeatures:
    return open_efficientnet(CPU)


@pytest.fixture(scope="session")
def photos() -> NDArray[np.uint8]:
    """Crops of real photos, uint8 (16, 48, 48, 3)."""
    rng = np.random.default_rng(0)
    crops = []
    for i in range(16):
        photo = (data.astronaut, data.chelsea, data.coffee, data.rocket)[i % 4]()
        y, x = (int(rng.integers(side - 48)) for side in photo.shape[:2])
        crops.append(photo[y : y + 48, x : x + 48])
    return np.stack(crops)
