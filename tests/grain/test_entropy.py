"""Entropy of regions against the paper's formula, summed directly in float64."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from d2it.grain.entropy import LUMA, region_entropy


def direct_kde(images: NDArray[np.uint8], region_size: int, bandwidth: float) -> NDArray[np.float64]:
    """The formula as it stands in the paper."""
    B, H, W, _ = images.shape
    S = region_size
    luma = (images.astype(np.float64) / 255) @ LUMA.astype(np.float64)
    luma = luma.reshape(B, H // S, S, W // S, S).transpose(0, 1, 3, 2, 4).reshape(B, H // S, W // S, S * S)
    bins = np.linspace(0, 1, S * S)
    p = np.exp(-0.5 * ((luma[..., None] - bins) / bandwidth) ** 2).sum(-2)
    p /= p.sum(-1, keepdims=True)
    logarithm = np.log(p, where=p > 0, out=np.zeros_like(p))
    return -(p * logarithm).sum(-1)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    region_size=st.sampled_from([8, 16, 32]),
    low=st.integers(0, 255),
    spread=st.integers(1, 255),
    bandwidth=st.sampled_from([0.005, 0.01, 0.05]),
)
def test_equals_the_direct_kernel_density(seed: int, region_size: int, low: int, spread: int, bandwidth: float) -> None:
    rng = np.random.default_rng(seed)
    images = np.clip(low + rng.integers(0, spread, (1, 32, 64, 3)), 0, 255).astype(np.uint8)
    expected = direct_kde(images, region_size, bandwidth)
    np.testing.assert_allclose(region_entropy(images, region_size, bandwidth), expected, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), low=st.integers(0, 255), spread=st.integers(1, 255))
def test_no_region_has_less_entropy_than_the_flattest_nor_more_than_the_bins_allow(
    seed: int, low: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    images = np.clip(low + rng.integers(0, spread, (1, 16, 16, 3)), 0, 255).astype(np.uint8)
    flat = np.repeat(np.arange(256, dtype=np.uint8), 16 * 16 * 3).reshape(256, 16, 16, 3)
    smallest = region_entropy(flat, 16, 0.01).min()
    entropy = region_entropy(images, 16, 0.01)
    assert smallest - 1e-4 <= entropy.min()
    assert entropy.max() <= np.log(256) + 1e-4


def test_entropies_of_a_photo_that_is_no_square_are_those_of_its_square_parts() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (1, 32, 96, 3), np.uint8)
    for whole, axis in ((photo, 2), (photo.transpose(0, 2, 1, 3), 1)):
        parts = [region_entropy(part, 16, 0.01) for part in np.split(whole, 3, axis)]
        np.testing.assert_array_equal(region_entropy(whole, 16, 0.01), np.concatenate(parts, axis))


def test_noise_has_more_entropy_than_a_gradient_and_a_gradient_more_than_a_flat_region() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((16, 16, 3), 120, np.uint8)
    gradient = np.repeat(np.linspace(100, 140, 16).astype(np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    noise = rng.integers(0, 256, (16, 16, 1)).repeat(3, 2).astype(np.uint8)
    entropy = region_entropy(np.stack([flat, gradient, noise]), 16, 0.01).ravel()
    assert entropy[0] < entropy[1] < entropy[2]


def test_mirroring_an_image_mirrors_its_entropies() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3)).astype(np.uint8)
    mirrored = region_entropy(images[:, :, ::-1], 16, 0.01)
    np.testing.assert_allclose(mirrored, region_entropy(images, 16, 0.01)[:, :, ::-1], atol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_saturated_regions_are_no_special_case(level: int) -> None:
    images = np.full((1, 16, 16, 3), level, np.uint8)
    np.testing.assert_allclose(region_entropy(images, 16, 0.01), direct_kde(images, 16, 0.01), atol=1e-4)


@pytest.mark.parametrize("region_size", [8, 16])
def test_neither_batch_nor_threads_change_a_byte(region_size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3)).astype(np.uint8)
    with threadpool_limits(1):
        alone = [region_entropy(image[None], region_size, 0.01) for image in images]
    with threadpool_limits(2):
        together = region_entropy(images, region_size, 0.01)
    assert np.concatenate(alone).tobytes() == together.tobytes()


def test_every_kind_of_processor_gets_the_same_bytes() -> None:
    code = (
        "import hashlib, numpy; from d2it.grain.entropy import region_entropy; "
        "images = numpy.random.default_rng(0).integers(0, 256, (20, 64, 64, 3)).astype(numpy.uint8); "
        "print(hashlib.sha256(region_entropy(images, 16, 0.01).tobytes()).hexdigest())"
    )
    old = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "AVX2 AVX512F"}  # kernels of 2004
    own, other = (
        subprocess.run([sys.executable, "-c", code], env=os.environ | change, stdout=subprocess.PIPE, check=True).stdout
        for change in ({}, old)
    )
    assert own == other
