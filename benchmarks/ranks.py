"""Two ranks with one thread each against one rank with one thread: `python -m benchmarks.ranks [--json]`.

Target: 1.7 times the images/s. The demo's content transformer in the real training loop at the paper's batch size, on
two cores of one machine.
"""

import contextlib
import io
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from benchmarks.timing import arguments, show
from d2it.data.latents import Latents, LatentWriter
from d2it.diffusion.schedule import linear_schedule
from d2it.params import load_params
from d2it.ranks.ranks import Ranks
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.loop import Run, Update, train
from d2it.transformer.content import build_content
from stages.stage import Stage
from stages.train_content import ContentLoss

PARAMS = Path(__file__).parents[1] / "params.yaml"
ROWS, STEPS, BATCH, MICRO_BATCH = 512, 5, 256, 64
LIMIT = timedelta(minutes=10)


def write_latents(folder: Path, grid: int, channels: int) -> None:
    """Random latents at the demo's sizes, half of the regions fine."""
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 2, (ROWS, grid // 2, grid // 2), np.uint8)
    moments = rng.normal(size=(ROWS, 2, channels, grid, grid)).astype(np.float16)
    with LatentWriter(folder, ROWS, channels, grid, grid // 2) as writer:
        writer.append(np.abs(moments), maps, np.arange(ROWS, dtype=np.int64) % 8)


def seconds_of(ranks: Ranks, folder: Path) -> float:
    """Time of a short training, from its first step to its end."""
    p = load_params(PARAMS)
    content = p.content_transformer.model_copy(
        update={"images": STEPS * BATCH, "batch_size": BATCH, "micro_batch": MICRO_BATCH}
    )
    p = p.model_copy(update={"content": content})
    latents = Latents(folder)
    device = torch.device("cpu")
    config = {
        "content": content.model_dump(),
        "refinenet": p.refinenet.model_dump(),
        "diffusion": p.diffusion.model_dump(),
        "factors": p.grain.factors,
        "latent_grid": latents.latent_grid,
        "latent_channels": latents.latent_channels,
        "classes": 8,
    }
    torch.manual_seed(0)
    model = build_content(config)
    schedule = linear_schedule(p.diffusion.timesteps, p.diffusion.beta_start, p.diffusion.beta_end)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
        place = Path(scratch)
        stage = Stage("train_content", p, place, place, place, device, ranks, lambda *_: None)
        loss = ContentLoss(stage, model, latents, schedule, 1.0)
        adamw = torch.optim.AdamW(model.parameters(), fused=True)
        update = Update("content", model, adamw, content_transformer.learning_rate, loss)
        ema = EMA(model, content_transformer.ema_decay)
        run = Run(content, ROWS, 0, device, Checkpoints(place), lambda *_: None, "", ema, ranks)
        began = time.perf_counter()
        train([update], run)
        return time.perf_counter() - began


def rank_main(rank: int, folder: Path, rounds: int, results: "mp.SimpleQueue[tuple[float, float]]") -> None:
    """In turn: rank 0 trains alone while the other sleeps in a collective; then both."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2, timeout=LIMIT)
    together = Ranks(rank, 2)
    alone_seconds, together_seconds = [], []
    for round_ in range(rounds + 1):
        if rank == 0:
            alone = seconds_of(Ranks(), folder)
        together.barrier()
        both = seconds_of(together, folder)
        if rank == 0 and round_:
            alone_seconds.append(alone)
            together_seconds.append(both)
    if rank == 0:
        results.put((statistics.median(alone_seconds), statistics.median(together_seconds)))


def main() -> None:
    """Spawn both ranks."""
    options = arguments("Two ranks with one thread each against one rank with one thread.")
    p = load_params(PARAMS)
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        write_latents(Path(folder), p.data.image_size // p.grain.factors[0], p.dvae.latent_channels)
        mp.spawn(rank_main, (Path(folder), options.rounds, results), nprocs=2)
        alone, both = results.get()
    images = STEPS * BATCH
    found = {
        "one rank, images/s": images / alone,
        "two ranks, images/s": images / both,
        "two ranks / one (target >= 1.7)": alone / both,
    }
    show(found, options.json)


if __name__ == "__main__":
    main()
