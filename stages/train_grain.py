"""Stage train_grain: train the Dynamic Grain Transformer on the grain maps of the training set."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.counting import size_numbers
from d2it.data.description import read_description
from d2it.data.latents import Latents
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import Schedule, linear_schedule
from d2it.initial import put_weights
from d2it.objectives.grain import GrainTraining
from d2it.params.architecture import grain_arguments
from d2it.saved import describe, read_config, save_model
from d2it.seeds import stream_seed, training_seeds
from d2it.training.curve import save_curve
from d2it.training.transformer import train_transformer
from d2it.transformer.grain import DynamicGrainTransformer
from stages.initial import initial_folder
from stages.lineage import check_inputs
from stages.stage import Stage

SHOWN = 16
REGION_PIXELS = 16  # in the picture
SAMPLING_STEPS, PREVIEW_STEPS = 50, 15


def main(stage: Stage) -> dict[str, float]:
    """Writes weights.safetensors, config.json, curve.csv and maps.png.

    Returns:
        The last cross entropy (nats per region), the model's parameters and its multiply-adds.
    """
    p, device = stage.params, stage.device
    check_inputs(stage, "prepare", "encode_latents")
    folder = stage.outputs / "encode_latents" / "train"
    latents = Latents(folder)
    schedule = linear_schedule(**p.diffusion.schedule).to(device)
    seeds = training_seeds(p.seed, p.seeds, "grain")
    torch.manual_seed(seeds.weights)
    model = DynamicGrainTransformer(
        **grain_arguments(p, len(read_description(stage.outputs / "prepare").classes)),
        activation_checkpointing=p.grain_transformer.activation_checkpointing,
    ).to(device)
    if initial := initial_folder(stage):
        put_weights(model, initial)

    def preview(averaged: DynamicGrainTransformer, seen: int) -> None:
        respaced = schedule.respaced(min(PREVIEW_STEPS, schedule.steps))
        shown, numbers = dict[str, NDArray[np.uint8]](), dict[str, float]()
        if p.preview_images:
            shown["grain_maps"] = _maps(stage, averaged, latents, respaced, count=p.preview_images)
        if stage.judge is not None:
            real, drawn = _drawn(stage, averaged, latents, respaced, count=stage.judge.images)
            numbers = stage.judge.grain_maps(drawn, real)
        stage.report(seen, numbers, shown)

    training = GrainTraining(model, latents, schedule=schedule, label_dropout=p.grain_transformer.label_dropout)
    about = {"schedule": p.diffusion.schedule, "latents": read_config(folder)}
    averaged, curve = train_transformer(
        model, training.loss, name="grain", read=training.read, params=p.grain_transformer,
        micro_batch=p.micro_batch.grain_transformer, rows=latents.rows, seeds=seeds,
        checkpoints=stage.checkpoints(describe(model) | about, p.grain_transformer), report=stage.report,
        ranks=stage.ranks, sharded=p.shard_weights, shown=("cross_entropy",),
        preview=preview if stage.previews else None,
    )  # fmt: skip
    if not stage.main_rank:
        return {}
    save_model(stage.out, averaged, about)
    save_curve(stage.out / "curve.csv", curve)
    respaced = schedule.respaced(min(SAMPLING_STEPS, schedule.steps))
    picture = _maps(stage, averaged, latents, respaced, count=SHOWN)
    pictures.save_png(stage.out / "maps.png", picture)
    stage.report(p.grain_transformer.images, {}, {"grain_maps": picture})
    return {"cross_entropy": curve[-1]["cross_entropy"]} | size_numbers(model, lambda: _one_pass(averaged))


def _one_pass(model: DynamicGrainTransformer) -> Tensor:
    t = torch.zeros(1, dtype=torch.int64)
    logits: Tensor = model(torch.zeros(1, 1, *model.region_grid), t, t)
    return logits


def _maps(
    stage: Stage, model: DynamicGrainTransformer, latents: Latents, schedule: Schedule, *, count: int
) -> NDArray[np.uint8]:
    """A picture of `_drawn`; the stage `fid` compares maps in numbers."""
    size = latents.region_grid.times(REGION_PIXELS)
    both = _drawn(stage, model, latents, schedule, count=count)
    return pictures.grid([pictures.grain_map_pictures(maps, model.grains, size) for maps in both], ["real", "drawn"])


@torch.no_grad()
def _drawn(
    stage: Stage, model: DynamicGrainTransformer, latents: Latents, schedule: Schedule, *, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Real maps of the training set, and as many drawn ones of the same classes; `schedule`: of sampling."""
    rows = np.linspace(0, latents.rows - 1, count).round().astype(np.int64)
    real, labels = latents.take_maps(rows, stage.device)
    seeds = [stream_seed(stage.params.seed, "preview", i) for i in range(len(rows))]
    drawn = sample_grain_maps(schedule, model, labels, ImageStreams(seeds, stage.device))
    return real.cpu().numpy(), drawn.cpu().numpy()
