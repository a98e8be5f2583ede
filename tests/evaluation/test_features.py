import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from d2it.evaluation.features import InceptionFeatures, load_inception_weights, random_weights
from d2it.evaluation.frechet import GaussianStatistics, frechet_distance
from d2it.weights import WeightsError

CPU = torch.device("cpu")


def tensor(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_features_equal_torch_fidelitys_own_from_the_same_file(weights_file: Path, photos: NDArray[np.uint8]) -> None:
    theirs = FeatureExtractorInceptionV3(
        "theirs", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights_file)
    )
    images = tensor(photos[:3])
    pool, logits = theirs(images)
    x = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False)
    x = (x - 128) / 128
    for name, module in theirs.named_children():
        if name == "Mixed_6d":
            spatial = module.branch1x1(x)[:, :7]
            break
        x = module(x)

    ours = InceptionFeatures(load_inception_weights(weights_file), CPU)(images)

    torch.testing.assert_close(ours.pool, pool, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.spatial, spatial.reshape(3, 7 * 17 * 17), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.probabilities, logits.softmax(1), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_seeded_weights_are_the_same_in_another_process_and_differ_with_the_seed() -> None:
    def digest(seed: int) -> str:
        hashed = hashlib.sha256()
        for name, value in random_weights(seed).items():
            hashed.update(name.encode() + value.numpy().tobytes())
        return hashed.hexdigest()

    code = (
        "import hashlib, torch; torch.manual_seed(99)\n"
        "from d2it.evaluation.features import random_weights\n"
        "hashed = hashlib.sha256()\n"
        "for name, value in random_weights(0).items(): hashed.update(name.encode() + value.numpy().tobytes())\n"
        "print(hashed.hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert there.stdout.strip() == digest(0)
    assert digest(0) != digest(1)


def test_building_the_network_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    InceptionFeatures(random_weights(), CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_features_tell_images_apart_and_keep_their_scale(
    extractor: InceptionFeatures, photos: NDArray[np.uint8]
) -> None:
    features = extractor(tensor(photos[:8]))
    assert 1e-3 < float(features.pool.mean()) < 1e3
    assert float(torch.pdist(features.pool).min()) > 1e-2 * float(features.pool.norm(dim=1).mean())
    torch.testing.assert_close(features.probabilities.sum(1), torch.ones(8))


@pytest.mark.slow
def test_seeded_distance_grows_with_blur(extractor: InceptionFeatures, photos: NDArray[np.uint8]) -> None:
    def statistics(images: NDArray[np.uint8]) -> GaussianStatistics:
        gaussian = GaussianStatistics(256)  # of 2048 features, to be quick
        gaussian.add(extractor(tensor(images)).pool[:, :256].numpy())
        return gaussian

    def blurred(sigma: float) -> NDArray[np.uint8]:
        return np.stack([gaussian_filter(image, (sigma, sigma, 0)) for image in photos])

    sharp = statistics(photos).gaussian()
    distances = [frechet_distance(sharp, statistics(blurred(sigma)).gaussian()) for sigma in (0.5, 1.5, 4)]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert distances[2] > 3 * distances[0]


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_with_code_in_it_is_refused_and_not_executed(tmp_path: Path, legacy: bool) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "executed"
    if legacy:
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save({"fc.weight": Bomb(trace)}, path)
    with pytest.raises(WeightsError, match=r"^\S+weights.pth: not a file of tensors"):
        load_inception_weights(path)
    assert not trace.exists()


def test_weights_of_another_network_are_refused_with_the_tensors_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(random_weights() | {"fc.weight": torch.zeros(1000, 2048)}, path)
    with pytest.raises(WeightsError, match=r"fc.weight: must be a tensor \(1008, 2048\)"):
        load_inception_weights(path)
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="not a file of tensors"):
        load_inception_weights(path)
