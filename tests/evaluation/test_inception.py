from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.metric_kid import kid_features_to_metric

from d2it.evaluation.all_pairs import kid
from d2it.evaluation.features import Features
from d2it.evaluation.frechet import Gaussian, GaussianStatistics, frechet_distance
from d2it.evaluation.inception import InceptionFeatures, load_inception_weights
from d2it.evaluation.inception_score import InceptionScore
from d2it.weights import WeightsError
from tests.evaluation.conftest import CPU, distance_of_features, near, random_weights


def tensor(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class Images(Dataset[Tensor]):
    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = tensor(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def fit(features: NDArray[np.float32]) -> Gaussian:
    statistics = GaussianStatistics(features.shape[1])
    statistics.add(features)
    return statistics.gaussian()


@pytest.mark.slow
def test_features_equal_torch_fidelitys_own_from_the_same_file(
    weights_file: Path, extractor: InceptionFeatures, photos: NDArray[np.uint8]
) -> None:
    theirs = FeatureExtractorInceptionV3(
        "theirs", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights_file)
    )
    pool, logits = theirs(tensor(photos[:3]))
    x = interpolate_bilinear_2d_like_tensorflow1x(tensor(photos[:3]).float(), size=(299, 299), align_corners=False)
    x = (x - 128) / 128
    for name, module in theirs.named_children():
        if name == "Mixed_6d":
            channels_last = module.branch1x1(x).permute(0, 2, 3, 1)  # TensorFlow's order
            break
        x = module(x)

    ours = extractor(photos[:3])

    assert ours.spatial is not None
    assert ours.probabilities is not None
    np.testing.assert_allclose(ours.pool, pool, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.spatial, channels_last[..., :7].reshape(3, -1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.probabilities, logits.softmax(1), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_distances_and_scores_equal_torch_fidelitys_from_images_to_numbers(
    weights_file: Path, extractor: InceptionFeatures
) -> None:
    """From the same images and weights. KID is a small difference of large sums: in float32 the oracle is the worse."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (48, 6, 6, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    real, samples = photos[:24], (photos[24:] * 0.7).astype(np.uint8)
    theirs = calculate_metrics(
        input1=Images(samples), input2=Images(real), isc=True, fid=True, kid=True, kid_subsets=1, kid_subset_size=24,
        samples_shuffle=False, batch_size=8, cuda=False, cache=False, verbose=False,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(weights_file),
    )  # fmt: skip

    def features(images: NDArray[np.uint8]) -> Features:
        batches = [extractor(images[start : start + 8]) for start in range(0, len(images), 8)]
        return Features(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))  # type: ignore[arg-type]

    of_real, of_samples = features(real), features(samples)
    assert of_samples.probabilities is not None
    score = InceptionScore(24, 1008)
    score.add(0, of_samples.probabilities)
    source = "torch-fidelity, from images"
    distance = frechet_distance(fit(of_real.pool), fit(of_samples.pool))
    near("FID", distance, distance_of_features(of_real.pool, of_samples.pool), "singular values of features in float64")
    near("FID", distance, theirs["frechet_inception_distance"], source, at_most=1e-5)
    assert of_real.spatial is not None
    assert of_samples.spatial is not None
    spatial = frechet_distance(fit(of_real.spatial), fit(of_samples.spatial))
    expected = distance_of_features(of_real.spatial, of_samples.spatial)
    near("sFID", spatial, expected, "singular values of features in float64")
    distance = kid(of_real.pool, of_samples.pool).value
    near("KID", distance, theirs["kernel_inception_distance_mean"], f"{source}, kernels in float32", at_most=1e-3)
    exact = kid_features_to_metric(
        torch.from_numpy(of_samples.pool).double(), torch.from_numpy(of_real.pool).double(), kid_subsets=1,
        kid_subset_size=24, verbose=False,
    )  # fmt: skip
    near("KID", distance, exact["kernel_inception_distance_mean"], "torch-fidelity, of the same features in float64")
    near("Inception score, mean", score.score().mean, theirs["inception_score_mean"], source)
    near("Inception score, deviation", score.score().deviation, theirs["inception_score_std"], source, 1e-5)


def test_building_the_network_draws_nothing_from_the_global_generator(weights_file: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    InceptionFeatures(load_inception_weights(weights_file), "of a test", CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_identity_names_the_file_and_what_is_done_to_images(weights_file: Path) -> None:
    weights = load_inception_weights(weights_file)
    a, b = (InceptionFeatures(weights, sha256, CPU).identity for sha256 in ("one", "other"))
    assert (a, b) == ("inception one 1", "inception other 1")


def test_probabilities_sum_to_one(extractor: InceptionFeatures, photos: NDArray[np.uint8]) -> None:
    probabilities = extractor(photos[:2]).probabilities
    assert probabilities is not None
    np.testing.assert_allclose(probabilities.sum(1, dtype=np.float64), 1, rtol=1e-6)


def test_weights_of_another_network_are_refused_with_the_tensors_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(random_weights(0) | {"fc.weight": torch.zeros(1000, 2048)}, path)
    with pytest.raises(WeightsError, match=r"fc.weight: must be a tensor \(1008, 2048\)"):
        load_inception_weights(path)
