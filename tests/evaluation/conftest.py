from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from d2it.evaluation.features import InceptionFeatures, random_weights


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torch-fidelity's, with weights of our own."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(random_weights(seed=1), path)
    return path


@pytest.fixture(scope="session")
def extractor() -> InceptionFeatures:
    return InceptionFeatures(random_weights(), torch.device("cpu"))


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
