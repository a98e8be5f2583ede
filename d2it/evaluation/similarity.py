"""How near reconstructions are to their originals, image by image: PSNR and SSIM (Wang et al. 2004)."""

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

WINDOW = 11  # pixels along a side of SSIM's Gaussian window of standard deviation 1.5


def psnr(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of pairs uint8 (B, H, W, 3) in decibels, (B,); infinite for equal ones."""
    errors: NDArray[np.float64] = ((images.astype(np.float64) - others) ** 2).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        decibels: NDArray[np.float64] = 10 * np.log10(255**2 / errors)
    return decibels


def ssim(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Structural similarity of pairs uint8 (B, H, W, 3) in [-1, 1], (B,): scikit-image's, with the authors' settings.

    It is the mean over channels, not of the grey image as in the original, and over the places where the window lies
    wholly within the image.

    Raises:
        ValueError: images are smaller than the window.
    """
    if min(images.shape[1:3]) < WINDOW:
        raise ValueError(f"images of {images.shape[1:3]} pixels: SSIM needs at least {WINDOW} x {WINDOW}")
    return np.array([_ssim(image, other) for image, other in zip(images, others, strict=True)], np.float64)


def _ssim(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return float(structural_similarity(image, other, channel_axis=2, **settings))  # type: ignore[no-untyped-call]
