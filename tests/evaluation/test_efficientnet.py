import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data

from d2it.evaluation.efficientnet import EfficientNetFeatures
from d2it.evaluation.frechet import GaussianStatistics, frechet_distance

TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285
ESPRESSO, CUP = 967, 968
MISSILE, DRILLING_RIG = 657, 540


def classes(extractor: EfficientNetFeatures, image: NDArray[np.uint8], most: int) -> set[int]:
    """The most probable classes of ImageNet."""
    logits = extractor.network.classifier(torch.from_numpy(extractor(image[None]).pool))
    return set(logits[0].topk(most).indices.tolist())


def test_photos_are_of_their_classes(efficientnet: EfficientNetFeatures) -> None:
    """Tensors in another order, or images prepared another way, would give other classes."""
    assert classes(efficientnet, data.chelsea(), 3) == {TABBY, TIGER_CAT, EGYPTIAN_CAT}
    assert classes(efficientnet, data.coffee(), 2) == {ESPRESSO, CUP}
    assert classes(efficientnet, data.rocket(), 2) == {DRILLING_RIG, MISSILE}  # beside its launch tower


def test_features_are_those_of_the_image_alone(efficientnet: EfficientNetFeatures, photos: NDArray[np.uint8]) -> None:
    together = efficientnet(photos[:4])
    assert together.pool.shape == (4, efficientnet.width)
    assert together.pool.dtype == np.float32
    assert together.spatial is together.probabilities is None
    for i in range(4):
        np.testing.assert_allclose(efficientnet(photos[i : i + 1]).pool[0], together.pool[i], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_distance_grows_with_blur(efficientnet: EfficientNetFeatures, photos: NDArray[np.uint8]) -> None:
    def statistics(images: NDArray[np.uint8]) -> GaussianStatistics:
        gaussian = GaussianStatistics(efficientnet.width)
        gaussian.add(efficientnet(images).pool)
        return gaussian

    def blurred(sigma: float) -> NDArray[np.uint8]:
        return np.stack([gaussian_filter(image, (sigma, sigma, 0)) for image in photos])

    sharp = statistics(photos).gaussian()
    distances = [frechet_distance(sharp, statistics(blurred(sigma)).gaussian()) for sigma in (0.5, 1.5, 4)]
    assert 0 < distances[0] < distances[1] < distances[2]
