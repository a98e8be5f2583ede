import numpy as np
from numpy.typing import NDArray

from d2it.evaluation.features import InceptionFeatures
from d2it.evaluation.statistics import ImageStatistics, measured_features


def test_one_pass_keeps_the_first_features_and_counts_every_image(
    extractor: InceptionFeatures, photos: NDArray[np.uint8]
) -> None:
    done: list[int] = []
    batches = [measured_features(extractor, images) for images in (photos[:3], photos[3:6], photos[6:7])]
    whole = ImageStatistics(keep=100).measure(batches, done.append)
    first = ImageStatistics(keep=4).measure(batches)
    assert done == [3, 3, 1]
    assert whole.features.shape == (7, 2048)
    np.testing.assert_array_equal(first.features, whole.features[:4])
    gaussian = whole.pool.gaussian()
    features = whole.features.astype(np.float64)
    np.testing.assert_allclose(gaussian.mean, features.mean(0), rtol=1e-10)
    np.testing.assert_allclose(gaussian.covariance, np.cov(features, rowvar=False), rtol=1e-6, atol=1e-10)
    assert whole.spatial.count == 7
    assert whole.inception_score.score() >= 1
