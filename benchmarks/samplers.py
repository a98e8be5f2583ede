"""How far samplers are from the exact solution with few steps: `python -m benchmarks.samplers`.

The data are N(0, 0.5²), for which the best prediction is known at every noise level, and the map from noise to data as
well: it is linear. So the numbers are the samplers' own error, without a model's, and the same on every machine.
"""

import torch
from tabulate import tabulate
from torch import Tensor

from d2it.diffusion.prediction import Prediction
from d2it.diffusion.samplers import OF_FLOW, SAMPLERS, Predict, sampling_schedule
from d2it.diffusion.schedule import Schedule, at, linear_schedule

DEVIATION = 0.5  # of the data
STEPS = (5, 10, 20, 50, 250)
SHAPE = (4096, 1, 4, 4)
FULL = linear_schedule(1000, 1e-4, 0.02)


def best_prediction(schedule: Schedule) -> Predict:
    """E[z_0 | z_t] and what follows from it; for DDPM also the exact variance of a reverse step."""

    def predict(z: Tensor, index: Tensor) -> Prediction:
        alpha, sigma = at(schedule.alpha, index), at(schedule.sigma, index)
        total = alpha**2 * DEVIATION**2 + sigma**2
        z_0 = alpha * DEVIATION**2 * z / total
        of_z_0 = at(schedule.beta * schedule.alpha_bar_prev.sqrt() / schedule.sigma**2, index)
        posterior = at(schedule.posterior_variance, index) + of_z_0**2 * (DEVIATION * sigma) ** 2 / total
        return Prediction(z_0, (z - alpha * z_0) / sigma, posterior.clamp(min=1e-20).log().expand_as(z))

    return predict


def errors(name: str, steps: int) -> tuple[float | None, float]:
    """Root mean square error of the end of each path (None for DDPM, which is random), and of the deviation."""
    schedule = sampling_schedule(FULL, name, steps)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(SHAPE, generator=generator)
    draws = iter([start])
    end = SAMPLERS[name](
        schedule, best_prediction(schedule), lambda: next(draws, torch.randn(SHAPE, generator=generator))
    )
    first = schedule.at(torch.tensor([schedule.steps - 1]))
    scale = (float(first.alpha) ** 2 * DEVIATION**2 + float(first.sigma) ** 2) ** 0.5
    rms = None if name == "ddpm" else float((end - DEVIATION / scale * start).square().mean().sqrt())
    return rms, abs(float(end.std()) - DEVIATION)


def main() -> None:
    """Print both tables."""
    for title, place in (("RMS error of the end of each path", 0), ("error of the standard deviation, 0.5", 1)):
        rows = []
        for name in SAMPLERS:
            cells = [errors(name, steps)[place] for steps in STEPS]
            rows.append(
                [f"{name} (flow)" if name in OF_FLOW else name, *("-" if x is None else f"{x:.4f}" for x in cells)]
            )
        print(f"{title}, by steps\n{tabulate(rows, ['sampler', *map(str, STEPS)], disable_numparse=True)}\n")


if __name__ == "__main__":
    main()
