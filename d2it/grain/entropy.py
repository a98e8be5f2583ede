"""Entropy of a region, by which it is coarse or fine (paper section 3.1).

A region's S² intensities x_i give a kernel density at P evenly spaced bins b_j in [0, 1],

    p(b_j) ∝ Σ_i exp(-((x_i - b_j) / σ)² / 2),   Σ_j p(b_j) = 1,   E = -Σ_j p(b_j) log p(b_j).

P = S² bins are the paper's; intensity = luma is our reading (the authors' earlier DQ-VAE).
"""

import functools
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d  # type: ignore[import-untyped]
from scipy.sparse import csr_array  # type: ignore[import-untyped]

LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)  # of R, G, B
KNOTS_PER_SIGMA = 3  # entropies of photos are then wrong by 1e-5 nats at most
NEGLIGIBLE = 1e-6  # of a kernel's height: nine of ten coefficients at the paper's bandwidth
PADDING = 16  # knots beyond [0, 1] while the spline is fitted, so that its ends do not matter


def region_entropy(images: NDArray[np.uint8], region_size: int, bandwidth: float) -> NDArray[np.float32]:
    """Entropy of each region, in nats: (B, H, W, 3) uint8 -> (B, H/S, W/S) float32 in [0, log S²].

    Equal to the direct sum to better than 1e-4 nats, but far cheaper. As a function of the intensity, the kernel of a
    bin is a cubic spline Σ_g c_gj B_g(x), so p(b_j) ∝ Σ_g (Σ_i B_g(x_i)) c_gj: each intensity adds to the 4 B-splines
    that are not zero there, and a sparse product does the rest. Every sum has its fixed order, so that every machine
    gets the same bytes, and an image's entropies do not depend on its batch. Compiled at the first call, in seconds;
    the interpreter's lock is not held.
    """
    return np.stack([_image_entropy(np.ascontiguousarray(image), region_size, bandwidth) for image in images])


def _image_entropy(image: NDArray[np.uint8], region_size: int, bandwidth: float) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (h, w) float32; the R = h w regions are columns of all arrays between."""
    H, W, _ = image.shape
    S = region_size
    h, w = H // S, W // S
    spline = _kernel_spline(S * S, bandwidth)  # (P, G)
    _, G = spline.shape
    histogram = np.zeros((G, h * w), np.float32)
    _add_splines(image, S, LUMA * np.float32(KNOTS_PER_SIGMA / (255 * bandwidth)), histogram)
    density = _multiply((spline.data, spline.indices, spline.indptr), histogram)
    return _entropies(density).astype(np.float32).reshape(h, w)


@functools.lru_cache(maxsize=4)
def _kernel_spline(bins: int, bandwidth: float) -> csr_array:
    """B-spline coefficients (P, G) of each bin's kernel on [0, 1]; the first B-spline has its middle one knot below."""
    spacing = bandwidth / KNOTS_PER_SIGMA
    knots = np.arange(-PADDING, math.ceil(1 / spacing) + PADDING + 1) * spacing
    distance = (knots[:, None] - np.linspace(0, 1, bins)) / bandwidth
    coefficients = spline_filter1d(np.exp(-0.5 * distance**2), order=3, axis=0)
    used = coefficients[PADDING - 1 : 2 - PADDING]
    return csr_array(np.where(abs(used) < NEGLIGIBLE, 0, used).T.astype(np.float32))


@njit(nogil=True)
def _add_splines(
    image: NDArray[np.uint8], S: int, luma_in_knots: NDArray[np.float32], histogram: NDArray[np.float32]
) -> None:
    """Add the cubic B-splines at the lumas of each region to its column of the histogram, (G, R)."""
    h, w = image.shape[0] // S, image.shape[1] // S
    n = S * S * w  # pixels of a row of regions
    one, three, six, two_thirds = np.float32(1), np.float32(3), np.float32(6), np.float32(2 / 3)
    red, green, blue = luma_in_knots
    first, weights = np.empty(n, np.int32), np.empty((4, n), np.float32)
    flat, R = histogram.reshape(-1), np.int32(h * w)
    for y in range(h):
        pixels = image[y * S : (y + 1) * S].reshape(-1)
        for i in range(n):
            luma = np.float32(pixels[3 * i]) * red
            luma = luma + np.float32(pixels[3 * i + 1]) * green + np.float32(pixels[3 * i + 2]) * blue
            knot = np.int32(luma)
            t = luma - np.float32(knot)
            rising, falling = t * t * t / six, (one - t) * (one - t) * (one - t) / six
            before = two_thirds - t * t + three * rising
            first[i] = knot * R + np.int32(y * w)
            weights[0, i], weights[1, i], weights[3, i] = falling, before, rising
            weights[2, i] = one - falling - before - rising
        for spline in range(4):
            i = 0
            for _ in range(S):
                for x in range(w):
                    to = np.uint32(spline * R + np.int32(x))
                    for _ in range(S):
                        flat[np.uint64(np.uint32(first[i]) + to)] += weights[spline, i]  # unsigned: no test for < 0
                        i += 1


@njit(nogil=True)
def _multiply(
    spline: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]], histogram: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The arrays of a csr matrix (P, G) times the histogram (G, R) -> (P, R)."""
    values, columns, starts = spline
    P, R = len(starts) - 1, histogram.shape[1]
    density = np.zeros((P, R), np.float32)
    for j in range(P):
        row = density[j]
        for k in range(starts[j], starts[j + 1]):
            value, splines = values[k], histogram[columns[k]]
            for r in range(R):
                row[r] += value * splines[r]
    return density


@njit(nogil=True)
def _entropies(density: NDArray[np.float32]) -> NDArray[np.float64]:
    """-Σ p log p of each column (P, R) -> (R,), in nats; the spline may dip below zero."""
    P, R = density.shape
    total, entropy = np.zeros(R), np.zeros(R)
    for j in range(P):
        for r in range(R):
            total[r] += max(np.float64(density[j, r]), 1e-30)
    for j in range(P):
        for r in range(R):
            p = max(np.float64(density[j, r]), 1e-30) / total[r]
            entropy[r] -= p * math.log(p)
    return entropy
