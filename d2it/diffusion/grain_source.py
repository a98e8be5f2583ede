"""Where the grain maps of samples come from: the grain transformer, real images, or chance, as in the paper's table."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it.data.latents import Latents, RowsByLabel, require_training_images
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import Schedule
from d2it.size import Size
from d2it.transformer.grain import DynamicGrainTransformer


class TransformerMaps:
    """Drawn by the Dynamic Grain Transformer."""

    def __init__(self, model: DynamicGrainTransformer, schedule: Schedule, guidance: float) -> None:
        """`schedule`: of sampling; `guidance`: scale of classifier-free guidance, 1 = none."""
        self._model, self._schedule, self._guidance = model, schedule, guidance

    def draw(self, labels: Tensor, streams: ImageStreams) -> Tensor:
        """(B, h, w) uint8 grain maps, one for each label (B,)."""
        return sample_grain_maps(self._schedule, self._model, labels, streams, guidance=self._guidance)


class RealMaps:
    """Maps of training images of the label's own class, each with equal probability."""

    def __init__(self, latents: Latents) -> None:
        self._latents, self._rows = latents, RowsByLabel(latents.labels)

    def draw(self, labels: Tensor, streams: ImageStreams) -> Tensor:
        """(B, h, w) uint8 grain maps, one for each label (B,).

        Raises:
            UserError: a class has no training image.
        """
        rows = self._rows.pick(labels.cpu().numpy(), streams.uniform(()).double().cpu().numpy())
        return self._latents.take_maps(rows, labels.device)[0]


class RandomMaps:
    """Independent regions, with the shares of grains that training images of the label's own class have."""

    def __init__(self, regions: NDArray[np.float64], size: Size) -> None:
        """`regions`: (classes, k), of each grain in the training images of a class; `size`: of a map."""
        self._regions, self._size = regions, size

    def draw(self, labels: Tensor, streams: ImageStreams) -> Tensor:
        """(B, h, w) uint8 grain maps, one for each label (B,).

        Raises:
            UserError: a class has no training image.
        """
        label = labels.cpu().numpy()
        require_training_images(self._regions.sum(1), label)
        regions = self._regions[label]  # (B, k)
        edges = (regions / regions.sum(1, keepdims=True)).cumsum(1)[:, :-1]  # (B, k - 1)
        uniform = streams.uniform(self._size)  # (B, h, w)
        return (uniform[..., None] >= torch.from_numpy(edges).to(uniform)[:, None, None]).sum(-1).to(torch.uint8)
