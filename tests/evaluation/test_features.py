from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from d2it.errors import NonFiniteError
from d2it.evaluation import features
from d2it.evaluation.extractor import finite_numpy, infer
from d2it.weights import WeightsError

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "file"), [("inception", "weights-inception"), ("dinov2", "dinov2_vitl14")])
def test_an_extractor_whose_weights_are_missing_says_which_file_belongs_where(
    tmp_path: Path, name: str, file: str
) -> None:
    with pytest.raises(WeightsError, match=rf"{tmp_path}/{file}\S+: no such file"):
        features.open_extractor(name, tmp_path, CPU)


def test_an_unknown_extractor_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'clip': must be inception, efficientnet_lite0 or dinov2"):
        features.open_extractor("clip", tmp_path, CPU)


def test_an_installed_extractor_needs_no_folder(tmp_path: Path) -> None:
    extractor = features.open_extractor("efficientnet_lite0", tmp_path / "none", CPU)
    assert (extractor.name, extractor.width) == ("efficientnet_lite0", 1280)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_end_the_work(wrong: float) -> None:
    with pytest.raises(NonFiniteError, match="features of this: 1 of 4 values"):
        finite_numpy(torch.tensor([[1, 2], [wrong, 3]]), "this")


@pytest.mark.filterwarnings("error")
def test_images_of_a_file_that_cannot_be_written_to_are_taken_as_they_are(photos: NDArray[np.uint8]) -> None:
    fixed = photos.copy()
    fixed.setflags(write=False)
    channels = infer(lambda batch: batch.float().mean((2, 3)), fixed, CPU)
    np.testing.assert_allclose(channels.numpy(), photos.mean((1, 2)), rtol=1e-5)
