"""Pillow's bicubic resizing of the middle of an image: the same bytes, in less than half of the time.

Pillow also computes what is cut off afterwards; and this is compiled for the processor that it runs on. Each axis is a
sum over a few neighbours with weights of 22 bits after the point, first along rows, then along columns, with bytes
between (Pillow's documentation: concepts, filters, `BICUBIC`).
"""

import functools

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image

from d2it.size import Size

BITS = 22  # after the point
SUPPORT, SHARPNESS = 2.0, -0.5  # of the cubic, in pixels of the smaller image; its parameter a

Weights = tuple[NDArray[np.int64], NDArray[np.int32]]


def covering(image: Image.Image, size: Size) -> float:
    """By what an image is scaled so that it just covers `size`."""
    return max(size.height / image.height, size.width / image.width)


def resize_middle(image: Image.Image, size: Size) -> NDArray[np.uint8]:
    """Resize an image of mode RGB so that it just covers `size`, and keep the middle: uint8 (H, W, 3)."""
    scale = covering(image, size)
    width, height = round(image.width * scale), round(image.height * scale)
    left, top = (width - size.width) // 2, (height - size.height) // 2
    if image.height > 2 * image.width:  # Pillow begins with the columns
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(resized.crop((left, top, left + size.width, top + size.height)))
    across = _weights(image.width, width, left, size.width)
    down = _weights(image.height, height, top, size.height)
    return _resample(np.asarray(image), across, down)


@functools.lru_cache(maxsize=256)
def _weights(inside: int, outside: int, first: int, count: int) -> Weights:
    """Of `count` pixels from `first` on: the first input of each (count,), and the weights from there (count, K)."""
    scale = inside / outside
    stretch = max(scale, 1.0)
    centre = (np.arange(first, first + count)[:, None] + 0.5) * scale
    start = np.maximum((centre - SUPPORT * stretch + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + SUPPORT * stretch + 0.5).astype(np.int64), inside)
    K = int((stop - start).max())
    start_read = np.minimum(start, inside - K)  # so that all K are inside
    neighbour = start_read + np.arange(K)
    weights = _cubic((neighbour - centre + 0.5) * (1.0 / stretch))
    weights = np.where((start <= neighbour) & (neighbour < stop), weights, 0.0)
    weights /= np.add.accumulate(weights, axis=1)[:, -1:]  # one after the other, as Pillow adds them
    fixed = (weights * (1 << BITS) + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)
    return start_read[:, 0], fixed


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    a, x = SHARPNESS, np.abs(x)
    near, far = ((a + 2.0) * x - (a + 3.0)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < SUPPORT, far, 0.0))


@njit(nogil=True)
def _resample(pixels: NDArray[np.uint8], across: Weights, down: Weights) -> NDArray[np.uint8]:
    """(H, W, 3) -> (n, m, 3), for m pixels across and n down; sums fit into 32 bits."""
    (lefts, weights), (tops, weights_down) = across, down
    (m, K), (n, L) = weights.shape, weights_down.shape
    top, bottom = tops[0], tops[-1] + L
    half, one, two = np.int32(1 << (BITS - 1)), np.uint64(1), np.uint64(2)
    rows, out = np.empty((bottom - top, 3 * m), np.uint8), np.empty((n, 3 * m), np.uint8)
    for y in range(bottom - top):
        row = pixels[top + y].reshape(-1)
        for x in range(m):
            red = green = blue = half
            for k in range(K):
                weight = weights[x, k]
                at = np.uint64(3 * (lefts[x] + k))  # unsigned: no test for < 0
                red = np.int32(red + row[at] * weight)
                green = np.int32(green + row[at + one] * weight)
                blue = np.int32(blue + row[at + two] * weight)
            to = np.uint64(3 * x)
            rows[y, to], rows[y, to + one], rows[y, to + two] = _byte(red), _byte(green), _byte(blue)
    total = np.empty(3 * m, np.int32)
    for y in range(n):
        total[:] = half
        for k in range(L):
            weight, row = weights_down[y, k], rows[tops[y] - top + k]
            for i in range(3 * m):
                total[i] += np.int32(row[i]) * weight
        for i in range(3 * m):
            out[y, i] = _byte(total[i])
    return out.reshape(n, m, 3)


@njit(nogil=True)
def _byte(total: np.int32) -> np.uint8:
    return np.uint8(min(max(int(total) >> BITS, 0), 255))
