"""A few steps of each training on this machine, on random data: how fast it computes what a params file asks for.

The stages' own losses, micro-batches, precision and optimisers; a step is one micro-batch, so that an optimiser counts
for more than where a batch has several. Networks of others have weights of no meaning: none is downloaded.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import torch

from d2it.cost.networks import untrained_perceptual
from d2it.cost.stages import content_pass_cost, dvae_step, grain_pass_cost, training_operations
from d2it.cost.step_time import seconds_per_step
from d2it.cost.synthetic import write_latents, write_photos
from d2it.data.latents import Latents
from d2it.data.photos import Photos
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.discriminator import PatchDiscriminator
from d2it.dvae.model import DynamicVAE
from d2it.objectives.content import ContentTraining
from d2it.objectives.dvae import DVAETraining
from d2it.objectives.grain import GrainTraining
from d2it.params.architecture import content_arguments, dvae_arguments, grain_arguments
from d2it.params.sections import Params, TrainingParams, TransformerParams
from d2it.seeds import TrainingSeeds
from d2it.training.adam import Adam
from d2it.training.checkpoints import Checkpoints
from d2it.training.compiled import compile_layers
from d2it.training.ema import EMA
from d2it.training.run import TrainingRun, Update
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer

STEPS, ROWS = 20, 64  # timed; of the random data, each of which is seen again and again


@dataclass(frozen=True)
class Probed:
    """What a training reaches here."""

    stage: str
    micro_batch: int
    images_per_second: float
    operations: float  # per image, counted

    @property
    def rate(self) -> float:
        """FLOP/s."""
        return self.operations * self.images_per_second


def probe(params: Params, classes: int, device: torch.device) -> Iterator[Probed]:
    """train_dvae, train_grain and train_content, each as soon as it is measured."""
    with tempfile.TemporaryDirectory() as name:
        yield _probe_dvae(params, Path(name) / "photos", device)
        latents = Path(name) / "latents"
        latents.mkdir()
        write_latents(latents, params, ROWS, classes)
        yield _probe_grain(params, Latents(latents), classes, device)
        yield _probe_content(params, Latents(latents), classes, device)


def _probe_dvae(params: Params, folder: Path, device: torch.device) -> Probed:
    """With a discriminator that has joined, where there is one."""
    folder.mkdir()
    write_photos(folder, params, ROWS)
    p, size = params.dvae, params.data.image_size
    run = _run("train_dvae", p, params.micro_batch.dvae, device)
    model = DynamicVAE(**dvae_arguments(params)).to(device).to(memory_format=torch.channels_last)
    model.thresholds = list(accumulate(params.grain.shares))[:-1]  # entropies are evenly spread over [0, 1)
    perceptual = untrained_perceptual(p.perceptual, size).to(device) if p.perceptual_weight > 0 else None
    discriminator = PatchDiscriminator(p.discriminator_channels, p.discriminator_layers).to(device)
    training = DVAETraining(
        model, discriminator, p, photos=Photos(folder, flip=False), run=run, perceptual=perceptual
    )  # fmt: skip
    if model.quantizer is not None:
        training.start_codebook()
    return _timed(training.updates(), run, sum(dvae_step(params)), first=-(-p.adversarial_start // run.micro_batch))


def _probe_grain(params: Params, latents: Latents, classes: int, device: torch.device) -> Probed:
    p, schedule = params.grain_transformer, linear_schedule(**params.diffusion.schedule).to(device)
    model = DynamicGrainTransformer(
        **grain_arguments(params, classes), activation_checkpointing=p.activation_checkpointing
    ).to(device)
    training = GrainTraining(model, latents, schedule=schedule, label_dropout=p.label_dropout)
    run = _run("train_grain", p, params.micro_batch.grain_transformer, device)
    return _time_transformer(training, p, run, grain_pass_cost(params))


def _probe_content(params: Params, latents: Latents, classes: int, device: torch.device) -> Probed:
    p, schedule = params.content_transformer, linear_schedule(**params.diffusion.schedule).to(device)
    model = DynamicContentTransformer(
        **content_arguments(params, classes), activation_checkpointing=p.activation_checkpointing
    ).to(device)
    training = ContentTraining(model, latents, params, schedule=schedule, scale=1.0)
    run = _run("train_content", p, params.micro_batch.content_transformer, device)
    return _time_transformer(training, p, run, content_pass_cost(params))


def _time_transformer(
    training: GrainTraining | ContentTraining, p: TransformerParams, run: TrainingRun, cost: int
) -> Probed:
    model = training.model
    averaged = EMA(model, p.ema_decay)
    if run.device.type == "cuda":
        compile_layers(model)
    adamw = Adam(model.parameters(), weight_decay=p.weight_decay)
    update = Update(
        name=run.label, model=model, optimizer=adamw, learning_rate=p.learning_rate, loss=training.loss,
        read=training.read,
    )  # fmt: skip
    return _timed([update], replace(run, ema=averaged), training_operations(p, cost))


def _run(stage: str, p: TrainingParams, micro_batch: int, device: torch.device) -> TrainingRun:
    """A run whose step is one micro-batch."""
    size = min(micro_batch, p.batch_size)
    return TrainingRun(
        params=p.model_copy(update={"batch_size": size}), micro_batch=size, rows=ROWS, seeds=TrainingSeeds(0, 0, 0),
        device=device, checkpoints=Checkpoints(Path()), report=lambda *_: None, label=stage,
    )  # fmt: skip


def _timed(updates: Sequence[Update], run: TrainingRun, operations: float, first: int = 0) -> Probed:
    """A rate of 0 moves no weight: what is not finite ends a training, and random photos teach nothing."""
    still = [replace(update, learning_rate=0.0) for update in updates]
    seconds = seconds_per_step(still, run, steps=STEPS, first=first)
    return Probed(run.label, run.micro_batch, run.micro_batch / seconds, operations)
