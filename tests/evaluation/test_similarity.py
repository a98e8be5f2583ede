import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from d2it.evaluation.similarity import psnr, ssim
from tests.evaluation.conftest import near


def pairs() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Photos (2, 20, 17, 3) and the same with noise."""
    photos = np.stack([data.astronaut()[200:220, 200:217], data.chelsea()[100:120, 150:167]])
    noise = np.random.default_rng(0).normal(scale=12, size=photos.shape)
    return photos, (photos + noise).clip(0, 255).astype(np.uint8)


def ssim_directly(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    """The definition, window by window: Gaussian weights on 11 x 11 pixels, variances divided by the sum of weights."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(taps, taps) / np.outer(taps, taps).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            for c in range(3):
                a, b = (image[i : i + 11, j : j + 11, c].astype(float) for image in (x, y))
                ma, mb = (weights * a).sum(), (weights * b).sum()
                va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
                cov = (weights * (a - ma) * (b - mb)).sum()
                values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(values))


def test_ssim_equals_its_definition_window_by_window() -> None:
    photos, others = pairs()
    for value, photo, other in zip(ssim(photos, others), photos, others, strict=True):
        near("SSIM", value, ssim_directly(photo, other), "the definition, window by window")


def test_psnr_equals_scikit_images() -> None:
    photos, others = pairs()
    for value, photo, other in zip(psnr(photos, others), photos, others, strict=True):
        near("PSNR", value, float(peak_signal_noise_ratio(photo, other, data_range=255)), "scikit-image")


@pytest.mark.filterwarnings("error")
def test_equal_images_are_as_similar_as_can_be() -> None:
    photos, _ = pairs()
    assert psnr(photos, photos).tolist() == [np.inf, np.inf]
    np.testing.assert_allclose(ssim(photos, photos), 1)


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="SSIM needs at least 11 x 11"):
        ssim(np.zeros((1, 10, 20, 3), np.uint8), np.zeros((1, 10, 20, 3), np.uint8))
