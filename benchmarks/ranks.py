"""Two ranks with one thread each against one rank with one thread: `python -m benchmarks.ranks [--json]`.

Target: 1.6 times the images/s. The demo's content transformer in the real training loop at its batch of 64, on two
cores of one machine.
"""

import contextlib
import io
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from benchmarks.content_training import Trained
from benchmarks.timing import arguments, show
from d2it.cost.synthetic import write_latents
from d2it.data.latents import Latents
from d2it.params.load import load_params
from d2it.ranks.ranks import Ranks
from d2it.training.checkpoints import Checkpoints

PARAMS = Path(__file__).parents[1] / "params.yaml"
ROWS, STEPS = 512, 20
LIMIT = timedelta(minutes=10)


def seconds_of(ranks: Ranks, folder: Path) -> float:
    """Time of a short training, from its first step to its end."""
    training = Trained(load_params(PARAMS), Latents(folder), torch.device("cpu"))
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
        began = time.perf_counter()
        training.train(STEPS, Checkpoints(Path(scratch)), ranks)
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
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        write_latents(Path(folder), load_params(PARAMS), ROWS)
        mp.spawn(rank_main, (Path(folder), options.rounds, results), nprocs=2)  # type: ignore[attr-defined,no-untyped-call]
        alone, both = results.get()
    images = STEPS * load_params(PARAMS).content_transformer.batch_size
    numbers = {
        "one rank, images/s": images / alone,
        "two ranks, images/s": images / both,
        "two ranks / one (target >= 1.6)": alone / both,
    }
    show(numbers, options.json)


if __name__ == "__main__":
    main()
