"""RefineNets at low noise alone (ours, no part of the paper): what they would add at high noise is hidden by it.

Above a noise level every region is predicted as a coarse one, by the backbone's head. A fine region's codes have noise
of their own, whose mean is smaller than a coarse code's noise; what is missing is added, so that the backbone sees a
noise level that it was trained at.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from d2it.diffusion.prediction import Prediction
from d2it.diffusion.samplers import Predict
from d2it.diffusion.schedule import Schedule, at, noise_level
from d2it.grain.codes import enlarge


def late(
    schedule: Schedule, fine: Predict, coarse: Predict, *, below: float, grain_map: Tensor, copies: Sequence[int],
    noise: Callable[[], Tensor],
) -> Predict:  # fmt: skip
    """A `Predict` function: `fine` up to noise level `below`, above it `coarse` for all regions.

    Args:
        schedule: of sampling.
        fine: of z_t with these grain maps.
        coarse: of z_t that is coarse everywhere.
        below: share of the noise levels t / T, 0 to 1.
        grain_map: (B, h / S, w / S).
        copies: finest positions along a side of a code, by grain.
        noise: N(0, 1) of shape (B, C, h, w); called once, where it is needed.
    """
    n, drawn = copies[0], list[Tensor]()

    def predict(z: Tensor, index: Tensor) -> Prediction:
        if noise_level(schedule, index) <= below:
            return fine(z, index)
        if not drawn:
            drawn.append(noise()[..., ::n, ::n])  # one for each region
        sigma = at(schedule.sigma, index)
        missing = enlarge(drawn[0] * _missing(grain_map, copies)[:, None], n)
        z_0, _, log_variance = coarse(enlarge(F.avg_pool2d(z, n), n) + sigma * missing, index)
        return Prediction(z_0, (z - at(schedule.alpha, index) * z_0) / sigma, log_variance)

    return predict


def _missing(grain_map: Tensor, copies: Sequence[int]) -> Tensor:
    """Standard deviation (B, h / S, w / S) that a mean of a region's draws lacks to 1."""
    missing = torch.zeros_like(grain_map, dtype=torch.float32)
    for grain, side in enumerate(copies):
        codes = (copies[0] // side) ** 2
        missing = missing.masked_fill(grain_map == grain, (1 - 1 / codes) ** 0.5)
    return missing
