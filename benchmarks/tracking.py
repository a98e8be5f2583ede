"""What tracking costs a training step: `python -m benchmarks.tracking`, with tracking and without it in turn.

Blocks of steps of the demo's content transformer: one with a tracker, which takes a point every ten steps as the demo
does, samples what the process uses, and sends all of it to a fresh SQLite store; then one without. A block is long
enough for two batches and a sample. Given are the median of the blocks' ratios, and what a `report` makes a step wait.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.timing import arguments, show
from d2it.device import pick_device
from d2it.diffusion.content import content_loss
from d2it.diffusion.schedule import linear_schedule
from d2it.params.architecture import content_arguments
from d2it.params.load import load_params
from d2it.transformer.content import DynamicContentTransformer
from tracking.tracker import Tracker

BLOCK_SECONDS = 13.0
CONNECTED_SECONDS = 3.0  # until the sender has looked up its run, once per stage
POINT_EVERY = 10  # steps


class Training:
    """Steps of the demo's content transformer on random latents."""

    def __init__(self) -> None:
        params, self.device = load_params(), pick_device()
        torch.manual_seed(0)
        self.batch = params.content_transformer.batch_size
        self.model = DynamicContentTransformer(**content_arguments(params, 8)).to(self.device)
        self.adamw = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.schedule = linear_schedule(**params.diffusion.schedule).to(self.device)
        self.z = torch.randn(self.batch, params.dvae.latent_channels, *params.latent_grid, device=self.device)
        self.grain_map = (torch.rand(self.batch, *params.region_grid, device=self.device) < 0.5).to(torch.uint8)

    def step(self) -> float:
        """One step; its loss."""
        losses = content_loss(
            self.schedule, self.model, z_0=self.z, grain_map=self.grain_map,
            labels=torch.zeros(self.batch, dtype=torch.int64, device=self.device),
            index=torch.randint(self.schedule.steps, (self.batch,), device=self.device),
            noise=torch.randn_like(self.z),
        )  # fmt: skip
        loss = losses.loss.mean()
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        self.adamw.step()
        return float(loss.detach())


def steps_of_a_block(training: Training, tracker: Tracker | None, waits: list[float]) -> float:
    """Seconds per step."""
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < BLOCK_SECONDS:
        loss = training.step()
        steps += 1
        if tracker and steps % POINT_EVERY == 0:
            before = time.perf_counter()
            numbers = {"loss": loss, "mse": loss, "bound": loss, "learning_rate": 1e-4}
            tracker.report(steps * training.batch, numbers)
            waits.append(time.perf_counter() - before)
    return (time.perf_counter() - began) / steps


def measure(training: Training, root: Path, rounds: int) -> dict[str, float]:
    """Blocks in turn, after a first one of each."""
    times: dict[str, list[float]] = {"on": [], "off": []}
    waits: list[float] = []
    first = 0.0
    for round_ in range(rounds + 1):
        with Tracker.open(stage="train_content", key=f"{round_:064}", params=load_params(), root=root) as tracker:
            if round_:
                time.sleep(CONNECTED_SECONDS)
            on = steps_of_a_block(training, tracker, waits)
        off = steps_of_a_block(training, None, waits)
        if round_:
            times["on"].append(on)
            times["off"].append(off)
        else:
            first = on
        print(
            f"round {round_} of {rounds}: {1000 * on:.2f} ms, without {1000 * off:.2f} ms", file=sys.stderr, flush=True
        )
    without = statistics.median(times["off"])
    return {
        "step with tracking, ms": 1000 * statistics.median(times["on"]),
        "step without, ms": 1000 * without,
        "ratio": statistics.median(on / off for on, off in zip(times["on"], times["off"], strict=True)),
        "seconds lost while MLflow is imported, once per stage": BLOCK_SECONDS * (1 - without / first),
        "longest report, ms": 1000 * max(waits),
        "median report, ms": 1000 * statistics.median(waits),
    }


def main() -> None:
    """Measure and print."""
    args = arguments("Cost of tracking for a training step.")
    root = Path(tempfile.mkdtemp(prefix="tracking-"))
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    (root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    try:
        show(measure(Training(), root, args.rounds), args.json)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
