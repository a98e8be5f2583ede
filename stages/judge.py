"""What previews are worth in numbers, for MLflow alone: a training's own code does not know it, so that a change in
evaluation never retrains."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from d2it.evaluation.all_pairs import kid
from d2it.evaluation.features import open_extractor
from d2it.evaluation.grain_maps import compare_maps
from d2it.evaluation.images import PreparedImages, fair_sample
from d2it.evaluation.metrics import number_name
from d2it.evaluation.protocol import LARGEST_PSNR
from d2it.evaluation.similarity import psnr, ssim
from d2it.params.sections import Params

PREFIX = "preview_"  # of the numbers' names: few images, few steps, no guidance, and no numbers of the stage fid
Numbers = dict[str, float]


class Judge:
    """Measures `preview_metrics` images."""

    def __init__(self, params: Params, outputs: Path, weights: Path, device: torch.device) -> None:
        """`weights`: folder of downloaded weights.

        Raises:
            WeightsError: those of `fid.extractor` are missing or wrong.
        """
        self.images = params.preview_metrics
        self._params, self._outputs = params, outputs
        self._extractor = open_extractor(params.fid.extractor, weights, device)

    def samples(self, images: NDArray[np.uint8]) -> Numbers:
        """KID of samples (N, H, W, 3), and its standard error, beside at most as many images of `fid.reference`."""
        estimate, extractor = kid(self._real, self._features(images)), self._extractor.name
        return {
            PREFIX + number_name("kid", extractor): estimate.value,
            PREFIX + number_name("kid_standard_error", extractor): estimate.standard_error,
        }

    def reconstructions(self, originals: NDArray[np.uint8], images: NDArray[np.uint8]) -> Numbers:
        """PSNR in dB and SSIM of pairs (N, H, W, 3)."""
        ratios = np.minimum(psnr(originals, images), LARGEST_PSNR)
        return {f"{PREFIX}psnr": float(ratios.mean()), f"{PREFIX}ssim": float(ssim(originals, images).mean())}

    def grain_maps(self, drawn: NDArray[np.uint8], real: NDArray[np.uint8]) -> Numbers:
        """How far drawn maps (N, h, w) are from real ones (M, h, w): of fine ratio, and of 2 x 2 patterns."""
        numbers = compare_maps(drawn, real, self._params.grain.grains)
        return {PREFIX + name: numbers[name] for name in ("fine_ratio_difference", "pattern_total_variation")}

    @cached_property
    def _real(self) -> NDArray[np.float32]:
        images = PreparedImages(self._outputs / "prepare" / self._params.fid.reference)
        return self._features(images.take(fair_sample(len(images), self.images)))

    def _features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = self._params.fid.batch_size
        return np.concatenate([self._extractor(images[i : i + size]).pool for i in range(0, len(images), size)])
