"""Training beside a process that takes one core, over training alone: `python -m benchmarks.busy [--json]`.

Target: at least 0.45. The demo's autoencoder and content transformer in processes of their own: with threads that wait
as jobs have it (d2it/threads.py), and as OpenMP has it by default.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.timing import arguments, show

PARAMS = Path(__file__).parents[1] / "params.yaml"
KINDS = {"autoencoder": 16, "content transformer": 20}  # steps that are timed, after WARM_UP
WARM_UP = 4
ROWS = 512


def content_rate(steps: int) -> float:
    """Images/s of the content transformer's real loop."""
    import tempfile

    import torch

    from benchmarks.content_training import NoCheckpoints, Trained
    from d2it.cost.synthetic import write_latents
    from d2it.data.latents import Latents
    from d2it.params.load import load_params
    from d2it.ranks.ranks import Ranks

    params = load_params(PARAMS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_latents(folder / "latents", params, ROWS)
        training = Trained(params, Latents(folder / "latents"), torch.device("cpu"))
        training.train(WARM_UP, NoCheckpoints(folder / "warm-up"), Ranks())
        began = time.perf_counter()
        images = training.train(steps, NoCheckpoints(folder / "timed"), Ranks())
        return images / (time.perf_counter() - began)


def autoencoder_rate(steps: int) -> float:
    """Images/s of the autoencoder's steps on noise, half of the regions fine."""
    import torch

    from d2it.dvae.loss import autoencoder_loss
    from d2it.dvae.model import DynamicVAE
    from d2it.dvae.perceptual import open_perceptual
    from d2it.params.architecture import dvae_arguments
    from d2it.params.load import load_params
    from pipeline.downloads import weights_folder

    params = load_params(PARAMS)
    p, size, grid = params.dvae, params.data.image_size, params.latent_grid
    torch.manual_seed(0)
    model = DynamicVAE(**dvae_arguments(params)).to(memory_format=torch.channels_last)
    perceptual = open_perceptual(p.perceptual, weights_folder())
    adam = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    began = time.perf_counter()
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            began = time.perf_counter()
        images = 2 * torch.rand(p.batch_size, 3, *size) - 1
        maps = torch.randint(0, 2, (p.batch_size, *params.region_grid))
        losses = autoencoder_loss(
            model, images, maps, torch.randn(p.batch_size, p.latent_channels, *grid), kl_weight=p.kl_weight,
            perceptual=lambda a, b: perceptual(a[::2], b[::2]).mean(), perceptual_weight=p.perceptual_weight,
        )  # fmt: skip
        adam.zero_grad()
        losses.loss.backward()
        adam.step()
    return steps * p.batch_size / (time.perf_counter() - began)


@contextmanager
def burner() -> Iterator[None]:
    """A process that takes a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def rate(kind: str, steps: int, *, as_jobs: bool) -> float:
    """Images/s in a process of its own."""
    code = "from d2it.threads import spin_briefly; spin_briefly(); " if as_jobs else ""
    code += f"from benchmarks.busy import *; print({kind.split()[0]}_rate({steps}))"
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=kept, cwd=PARAMS.parent, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure in turn."""
    options = arguments("Training beside a process that takes one core, over training alone.", rounds=3)
    numbers: dict[str, float] = {}
    for kind, steps in KINDS.items():
        rates: dict[tuple[str, str], list[float]] = {}
        for round_ in range(options.rounds):
            for waiting in ("as jobs have it", "OpenMP's default"):
                as_jobs = waiting == "as jobs have it"
                rates.setdefault((waiting, "alone"), []).append(rate(kind, 2 * steps, as_jobs=as_jobs))
                with burner():
                    rates.setdefault((waiting, "busy"), []).append(rate(kind, steps, as_jobs=as_jobs))
                print(f"round {round_ + 1} of {options.rounds}: {kind}, {waiting}", file=sys.stderr, flush=True)
        for (waiting, where), values in rates.items():
            numbers[f"{kind}, {waiting}, {where}, images/s"] = median(values)
        for waiting in ("as jobs have it", "OpenMP's default"):
            numbers[f"{kind}, {waiting}: beside a burner / alone"] = median(
                busy / alone for busy, alone in zip(rates[waiting, "busy"], rates[waiting, "alone"], strict=True)
            )
    show(numbers, options.json)


if __name__ == "__main__":
    main()
