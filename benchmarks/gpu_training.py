"""The real training loop on one GPU or several: `python -m benchmarks.gpu_training [--sizes B L XL] [--json]`, or
`torchrun --nproc-per-node 8 -m benchmarks.gpu_training`.

Everything that a step of the stage train_content does, but for the bar and the curve: latents read from the disk,
draws and routes in other threads, bfloat16, compiled layers, clipping, exchange of gradients, fused AdamW, averaged
weights, the look at the loss a step later. Target: XL trains at 45 % of the card's rate or more. Needs what
benchmarks.gpu needs.
"""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.gpu import BATCH, DROPOUT, NOMINAL, SHARES
from benchmarks.latents import write
from benchmarks.timing import arguments, show
from d2it.cost.rate import TRAINING_FLOP
from d2it.cost.step_time import seconds_per_step
from d2it.counting import META, content_pass, multiply_adds
from d2it.data.latents import Latents
from d2it.device import pick_device
from d2it.diffusion.schedule import linear_schedule
from d2it.objectives.content import ContentTraining
from d2it.ranks.ranks import Ranks
from d2it.seeds import TrainingSeeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.compiled import compile_layers
from d2it.training.ema import EMA
from d2it.training.run import TrainingRun, Update
from d2it.transformer.content import SIZES, DynamicContentTransformer

ROWS = 20_000
PARAMS: Any = SimpleNamespace(  # of the presets; without pydantic, which GPU machines may lack
    diffusion=SimpleNamespace(objective="epsilon", flow_times="uniform"),
    content_transformer=SimpleNamespace(label_dropout=0.1, loss_weighting="code"),
)


def run_of(training: ContentTraining, folder: Path, ranks: Ranks, images_per_rank: int) -> TrainingRun:
    """A run whose batch gives each rank one micro-batch."""
    params: Any = SimpleNamespace(
        batch_size=images_per_rank * ranks.size, gradient_clip=1.0, precision="bfloat16", images=10**9,
        warmup_images=0, cooldown_images=0,
    )  # fmt: skip
    return TrainingRun(
        params=params, micro_batch=images_per_rank, rows=training.latents.rows, seeds=TrainingSeeds(0, 0, 0),
        device=next(training.model.parameters()).device, checkpoints=Checkpoints(folder), report=lambda *_: None,
        label="benchmark", ema=EMA(training.model, 0.9999), ranks=ranks,
    )  # fmt: skip


def step_seconds(training: ContentTraining, run: TrainingRun, steps: int) -> float:
    """Of a training as the stage sets it up."""
    adamw = torch.optim.AdamW(training.model.parameters(), 1e-4, fused=True)
    update = Update(
        name="content", model=training.model, optimizer=adamw, learning_rate=1e-4, loss=training.loss,
        read=training.read,
    )  # fmt: skip
    if run.device.type == "cuda":
        compile_layers(training.model)
    return seconds_per_step([update], run, steps=steps)


def of_size(name: str, folder: Path, ranks: Ranks, steps: int) -> dict[str, float]:
    """Images and operations per second of all ranks together, and the share of their cards' nominal rate."""
    device = pick_device()
    with META:
        counted = DynamicContentTransformer(**SIZES[name])
    operations = TRAINING_FLOP * multiply_adds(lambda: content_pass(counted, SHARES))  # per image
    torch.manual_seed(0)
    model = DynamicContentTransformer(**SIZES[name], dropout=DROPOUT).to(device)
    schedule = linear_schedule(1000, 1e-4, 0.02).to(device)
    training = ContentTraining(model, Latents(folder), PARAMS, schedule=schedule, scale=1.0)
    run = run_of(training, folder, ranks, BATCH.get(name, 16))
    seconds = step_seconds(training, run, steps)
    rate = run.params.batch_size / seconds
    numbers = {f"{name}, images/s": rate, f"{name}, TFLOP/s per rank": operations * rate / ranks.size / 1e12}
    if device.type == "cuda":
        card = torch.cuda.get_device_name()
        nominal = next((value for known, value in NOMINAL.items() if known in card), None)
        numbers[f"{name}, peak memory, GB"] = torch.cuda.max_memory_allocated() / 1e9
        if nominal:
            numbers[f"{name}, % of the nominal rate"] = 100 * operations * rate / ranks.size / 1e12 / nominal
    return numbers


def main() -> None:
    """Measure all that was asked for; rank 0 prints."""
    options = arguments("The real training loop on GPUs.", rounds=5, sizes=[*BATCH, "S"])
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device()
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if size > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    numbers: dict[str, object] = {"ranks": size, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), ROWS)
        for model in options.sizes:
            numbers |= of_size(model, Path(name), Ranks(rank, size), 10 * options.rounds)
    if rank == 0:
        show(numbers, options.json)


if __name__ == "__main__":
    main()
