"""A step of training waits for no number of the device: it runs where tensors have no values at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.content_training import CLASSES
from d2it.cost.synthetic import write_latents, write_photos
from d2it.data.latents import Latents
from d2it.data.photos import Photos
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.discriminator import PatchDiscriminator
from d2it.dvae.model import DynamicVAE
from d2it.dvae.perceptual import open_perceptual
from d2it.objectives.content import ContentTraining
from d2it.objectives.dvae import DVAETraining
from d2it.objectives.grain import GrainTraining
from d2it.params.architecture import content_arguments, dvae_arguments, grain_arguments
from d2it.params.sections import Params
from d2it.seeds import TrainingSeeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.means import Means
from d2it.training.run import TrainingRun, Update
from d2it.training.step import Descent
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer
from tests.smallest import changed

CPU, META = torch.device("cpu"), torch.device("meta")


class Waits(TorchDispatchMode):
    """Notes the operations whose result has to come from a GPU before work can go on."""

    ASK = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in func.__name__ for name in self.ASK):
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


def updates_of(kind: str, folder: Path, device: torch.device) -> tuple[list[Update], TrainingRun]:
    """The updates of a stage with the smallest params, on random data."""
    params = changed({"diffusion.objective": "flow", "sample.sampler": "euler"} if "flow" in kind else {})
    section = {"grain": params.grain_transformer, "content": params.content_transformer}.get(kind.split(",")[0])
    run = TrainingRun(
        params=section or params.dvae, micro_batch=4, rows=16, seeds=TrainingSeeds(0, 0, 0), device=device,
        checkpoints=Checkpoints(folder), report=lambda *_: None, label=kind,
    )  # fmt: skip
    if section is None:
        return dvae_updates(params, folder, run), run
    write_latents(folder, params, 16)
    latents, schedule = Latents(folder), linear_schedule(**params.diffusion.schedule).to(device)
    training: ContentTraining | GrainTraining
    if kind == "grain":
        model = DynamicGrainTransformer(**grain_arguments(params, CLASSES)).to(device)
        training = GrainTraining(model, latents, schedule=schedule, label_dropout=0.1)
    else:
        content = DynamicContentTransformer(**content_arguments(params, CLASSES)).to(device)
        training = ContentTraining(content, latents, params, schedule=schedule, scale=1.0)
    adam = torch.optim.AdamW(training.model.parameters(), fused=device.type != "meta")
    update = Update(
        name=kind, model=training.model, optimizer=adam, learning_rate=1e-3, loss=training.loss, read=training.read
    )
    return [update], run


def dvae_updates(params: Params, folder: Path, run: TrainingRun) -> list[Update]:
    write_photos(folder, params, 16)
    model = DynamicVAE(**dvae_arguments(params)).to(run.device)
    model.thresholds = [0.5]
    made = DVAETraining(
        model, PatchDiscriminator(8, 2).to(run.device), params.dvae, photos=Photos(folder, flip=False), run=run,
        perceptual=open_perceptual("efficientnet_lite0", folder).to(run.device),
    )  # fmt: skip
    return made.updates()


def losses(updates: list[Update], run: TrainingRun, step: int) -> Iterator[Tensor]:
    for update in updates:
        for micro in run.micro_batches(step, updates[0].name):
            yield update.loss(micro, update.read(micro))[0]


@pytest.mark.parametrize("kind", ["content", "content, flow", "grain"])
def test_forward_and_backward_pass_run_without_values(kind: str, tmp_path: Path) -> None:
    updates, run = updates_of(kind, tmp_path, META)
    for loss in losses(updates, run, 3):
        assert loss.is_meta
        loss.backward()
    assert all(p.grad is not None for update in updates for p in update.model.parameters())


@pytest.mark.parametrize("kind", ["content", "grain", "dvae"])
def test_a_whole_step_asks_for_no_value(kind: str, tmp_path: Path) -> None:
    """Gradient norm, clipping, optimiser, averages, the curve's numbers and a discriminator that has joined too."""
    updates, run = updates_of(kind, tmp_path, CPU)
    means, emas = Means(CPU), [EMA(update.model, 0.9) for update in updates]
    descents = [Descent(update, run, str) for update in updates]
    data = {
        step: [update.read(m) for update in updates for m in run.micro_batches(step, update.name)] for step in (2, 3)
    }
    for step in (2, 3):  # once for what is set up in a first step
        coming = iter(data[step])
        with Waits() as waits:
            for descent, ema in zip(descents, emas, strict=True):
                descent.step(step, coming, means)
                ema.update(descent.update.model, step)
    assert waits.seen == []


def test_an_operation_that_asks_for_a_value_is_seen() -> None:
    with Waits() as waits:
        float(torch.ones(3).sum())
        torch.ones(3).nonzero()
    assert len(waits.seen) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", ["content", "grain", "dvae"])
def test_a_step_on_a_gpu_waits_for_nothing(kind: str, tmp_path: Path) -> None:
    updates, run = updates_of(kind, tmp_path, torch.device("cuda"))
    descents, means = [Descent(update, run, str) for update in updates], Means(run.device)
    data = {
        step: [update.read(m) for update in updates for m in run.micro_batches(step, update.name)] for step in (2, 3)
    }
    for step in (2, 3):
        torch.cuda.set_sync_debug_mode("error" if step == 3 else "default")
        try:
            coming = iter(data[step])
            for descent in descents:
                descent.step(step, coming, means)
        finally:
            torch.cuda.set_sync_debug_mode("default")
