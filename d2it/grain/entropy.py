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
from scipy.sparse import csr_array  # type: ignore[import-untyped]

LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)  # of R, G, B
KNOTS_PER_SIGMA = 3  # entropies of photos are then wrong by 1e-5 nats at most
NEGLIGIBLE = 1e-6  # of a kernel's height: nine of ten coefficients at the paper's bandwidth
CACHED = 1 << 14  # intensities at a time: their arrays stay in the processor's cache
PADDING = 16  # knots beyond [0, 1] while the spline is fitted, so that its ends do not matter


def region_entropy(images: NDArray[np.uint8], region_size: int, bandwidth: float) -> NDArray[np.float32]:
    """Entropy of each region, in nats: (B, H, W, 3) uint8 -> (B, H/S, W/S) float32 in [0, log S²].

    Equal to the direct sum to better than 1e-4 nats, but far cheaper. As a function of the intensity, the kernel of a
    bin is a cubic spline Σ_g c_gj B_g(x), so p(b_j) ∝ Σ_g (Σ_i B_g(x_i)) c_gj: each intensity adds to the 4 B-splines
    that are not zero there, and one matrix product does the rest. Images are measured one by one, so that an image's
    entropies do not depend on its batch. No sum is BLAS's, whose order depends on threads and on the kind of processor:
    every machine gets the same bytes.
    """
    return np.stack([_image_entropy(image, region_size, bandwidth) for image in images])


def _image_entropy(image: NDArray[np.uint8], region_size: int, bandwidth: float) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (h, w) float32."""
    H, W, _ = image.shape
    S = region_size
    h, w = H // S, W // S
    spline = _kernel_spline(S * S, bandwidth)  # (P, G)
    scale = LUMA * np.float32(KNOTS_PER_SIGMA / (255 * bandwidth))
    pixels = rearrange(image, "(y p) (x q) c -> c (p q) (y x)", p=S, q=S)
    n = max(1, CACHED // (S * S))
    parts = []
    for start in range(0, h * w, n):
        red, green, blue = pixels[..., start : start + n]
        position = red * scale[0] + green * scale[1] + blue * scale[2]  # luma in knots, (S², n)
        parts.append(_entropies(position, spline))
    return np.concatenate(parts).reshape(h, w)


def _entropies(position: NDArray[np.float32], spline: csr_array) -> NDArray[np.float32]:
    """Of R regions: (S², R), lumas in knots, -> (R,)."""
    _, G = spline.shape
    density = spline @ _spline_histogram(position, G)  # (P, R)
    density = np.maximum(density, 1e-30, dtype=np.float64)  # the spline may dip below zero
    density /= density.sum(0)
    entropy: NDArray[np.float32] = -(density * np.log(density)).sum(0).astype(np.float32)
    return entropy


@functools.lru_cache(maxsize=4)
def _kernel_spline(bins: int, bandwidth: float) -> csr_array:
    """B-spline coefficients (P, G) of each bin's kernel on [0, 1]; the first B-spline has its middle one knot below."""
    spacing = bandwidth / KNOTS_PER_SIGMA
    knots = np.arange(-PADDING, math.ceil(1 / spacing) + PADDING + 1) * spacing
    distance = (knots[:, None] - np.linspace(0, 1, bins)) / bandwidth
    coefficients = spline_filter1d(np.exp(-0.5 * distance**2), order=3, axis=0)
    used = coefficients[PADDING - 1 : 2 - PADDING]
    return csr_array(np.where(abs(used) < NEGLIGIBLE, 0, used).T.astype(np.float32))


def _spline_histogram(position: NDArray[np.float32], splines: int) -> NDArray[np.float32]:
    """Sums (G, R) of the cubic B-splines at positions (n, R), which are >= 0 and in units of the spacing of knots."""
    _, R = position.shape
    left = position.astype(np.int64)
    t = position - left.astype(np.float32)  # (n, R)
    first = (left * R + np.arange(R)).ravel()
    rising, falling = t * t * t / 6, (1 - t) * (1 - t) * (1 - t) / 6
    before = 2 / 3 - t * t + 3 * rising
    histogram = np.zeros(splines * R, np.float32)
    for offset, weight in enumerate((falling, before, 1 - falling - before - rising, rising)):
        np.add.at(histogram[offset * R :], first, weight.ravel())
    return histogram.reshape(splines, R)
