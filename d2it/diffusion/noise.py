"""Multi-grained noise: one draw per code, copied inside coarse regions; and one random stream per image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from d2it.grain.codes import copy_codes


def multi_grained_noise(noise: Tensor, grain_map: Tensor, copies: Sequence[int]) -> Tensor:
    """Independent noise (B, C, h, w) to noise that is constant inside coarse regions, with unit variance everywhere."""
    return copy_codes(noise, grain_map, copies)


class Draws(NamedTuple):
    """What training draws at random for each image: N(0, 1) of shape (B, n, ...), and two numbers of U[0, 1), (B,)."""

    noise: Tensor
    time: Tensor
    label: Tensor  # hides the label where it is small

    def pinned(self) -> "Draws":
        """In memory from where a GPU fetches it while it works."""
        return Draws(*(x.pin_memory() for x in self))

    def to(self, device: torch.device) -> "Draws":
        """The same on a device; from pinned memory a GPU fetches them while it works."""
        return Draws(*(x.to(device, non_blocking=True) for x in self))


def draw(streams: "ImageStreams", shape: Sequence[int]) -> Draws:
    """From each image's own stream, `shape` without the batch."""
    noise = streams.normal(shape)
    time, label = streams.uniform((2,)).unbind(1)
    return Draws(noise, time, label)


class ImageStreams:
    """One random stream per image, so that no draw depends on how images are batched or spread over ranks."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._device = device

    def normal(self, shape: Sequence[int]) -> Tensor:
        """N(0, 1) of shape (B, *shape), the b-th row from the b-th image's stream."""
        return torch.stack([torch.randn(tuple(shape), generator=g, device=self._device) for g in self._generators])

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """U[0, 1) of shape (B, *shape), likewise."""
        return torch.stack([torch.rand(tuple(shape), generator=g, device=self._device) for g in self._generators])
