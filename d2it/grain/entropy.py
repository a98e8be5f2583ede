"""Entropy of a region, by which it is coarse or fine (paper section 3.1).

A region's S² intensities x_i give a kernel density at P evenly spaced bins b_j in [0, 1],

    p(b_j) ∝ Σ_i exp(-((x_i - b_j) / σ)² / 2),   Σ_j p(b_j) = 1,   E = -Σ_j p(b_j) log p(b_j).

P = S² bins are the paper's; intensity = luma is our reading (the authors' earlier DQ-VAE).
"""

import functools
import math

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d  # type: ignore[import-untyped]
from threadpoolctl import ThreadpoolController

LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)  # of R, G, B
KNOTS_PER_SIGMA = 4  # a cubic spline through the kernel is then wrong by less than 1e-4 of its height
PADDING = 16  # knots beyond [0, 1] while the spline is fitted, so that its ends do not matter


def region_entropy(images: NDArray[np.uint8], region_size: int, bandwidth: float) -> NDArray[np.float32]:
    """Entropy of each region, in nats: (B, H, W, 3) uint8 -> (B, H/S, W/S) float32 in [0, log S²].

    Equal to the direct sum to better than 1e-4 nats, but far cheaper. As a function of the intensity, the kernel of a
    bin is a cubic spline Σ_g c_gj B_g(x), so p(b_j) ∝ Σ_g (Σ_i B_g(x_i)) c_gj: each intensity adds to the 4 B-splines
    that are not zero there, and one matrix product does the rest. Images are measured one by one, so that an image's
    entropies do not depend on its batch, and its arrays stay in the processor's cache.
    """
    with _thread_pools().limit(limits=1, user_api="blas"):  # several threads would sum the product in another order
        return np.stack([_image_entropy(image, region_size, bandwidth) for image in images])


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # takes longer to make than an image to measure


def _image_entropy(image: NDArray[np.uint8], region_size: int, bandwidth: float) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (h, w) float32."""
    H, W, _ = image.shape
    S = region_size
    h, w = H // S, W // S
    spline = _kernel_spline(S * S, bandwidth)  # (G, P)
    scale = LUMA * np.float32(KNOTS_PER_SIGMA / (255 * bandwidth))
    position = image.reshape(-1, 3).astype(np.float32) @ scale  # luma in knots, (H·W,)
    position = rearrange(position, "(y p x q) -> (y x) (p q)", y=h, p=S, q=S)
    density = _spline_histogram(position, len(spline)) @ spline  # (h·w, P)
    density = np.maximum(density, 1e-30)  # the spline may dip below zero
    density /= density.sum(1, keepdims=True)
    entropy: NDArray[np.float32] = -(density * np.log(density)).sum(1)
    return entropy.reshape(h, w)


@functools.lru_cache(maxsize=4)
def _kernel_spline(bins: int, bandwidth: float) -> NDArray[np.float32]:
    """B-spline coefficients (G, P) of each bin's kernel on [0, 1]; the first B-spline has its middle one knot below."""
    spacing = bandwidth / KNOTS_PER_SIGMA
    knots = np.arange(-PADDING, math.ceil(1 / spacing) + PADDING + 1) * spacing
    distance = (knots[:, None] - np.linspace(0, 1, bins)) / bandwidth
    coefficients = spline_filter1d(np.exp(-0.5 * distance**2), order=3, axis=0)
    used: NDArray[np.float32] = coefficients[PADDING - 1 : 2 - PADDING].astype(np.float32)
    return used


def _spline_histogram(position: NDArray[np.float32], splines: int) -> NDArray[np.float32]:
    """Sums (R, G) of the cubic B-splines at positions (R, n), which are >= 0 and in units of the spacing of knots."""
    R, _ = position.shape
    left = position.astype(np.int64)
    t = position - left.astype(np.float32)  # (R, n)
    first = (left + splines * np.arange(R)[:, None]).ravel()
    rising, falling = t * t * t / 6, (1 - t) * (1 - t) * (1 - t) / 6
    before = 2 / 3 - t * t + 3 * rising
    histogram = np.zeros(R * splines, np.float32)
    for offset, weight in enumerate((falling, before, 1 - falling - before - rising, rising)):
        np.add.at(histogram, first + offset, weight.ravel())
    return histogram.reshape(R, splines)
