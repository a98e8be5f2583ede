"""Stage train_grain: train the Dynamic Grain Transformer on the grain maps of the training set."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from d2it import pictures
from d2it.counting import size_numbers
from d2it.data.description import read_description
from d2it.data.latents import Latents
from d2it.diffusion.grain import draw_grain_loss, sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import Schedule, linear_schedule
from d2it.params.architecture import grain_arguments
from d2it.saved import describe, read_config, save_model
from d2it.seeds import stream_seed, training_seeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.curve import save_curve
from d2it.training.loop import MicroBatch
from d2it.training.transformer import train_transformer
from d2it.transformer.grain import DynamicGrainTransformer
from stages.lineage import check_inputs
from stages.stage import Stage

SHOWN = 16
REGION_PIXELS = 16  # in the picture
SAMPLING_STEPS = 50


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

    def loss(micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        maps, labels = (x.to(device) for x in micro.data)
        hidden, g = p.grain_transformer.label_dropout, micro.generator
        entropy = draw_grain_loss(schedule, model, maps, labels, generator=g, label_dropout=hidden).mean()
        return entropy, {"cross_entropy": entropy}

    about = {"schedule": p.diffusion.schedule, "latents": read_config(folder)}
    averaged, curve = train_transformer(
        model, loss, name="grain", read=partial(latents.take_maps, device=torch.device("cpu")),
        params=p.grain_transformer, rows=latents.rows, seeds=seeds,
        checkpoints=Checkpoints(stage.scratch, describe(model) | about), report=stage.report, ranks=stage.ranks,
    )  # fmt: skip
    if not stage.main_rank:
        return {}
    save_model(stage.out, averaged, about)
    save_curve(stage.out / "curve.csv", curve)
    _picture(stage, averaged, latents, schedule)
    return {"cross_entropy": curve[-1]["cross_entropy"]} | size_numbers(averaged, _one_pass)


def _one_pass(model: DynamicGrainTransformer) -> Tensor:
    t = torch.zeros(1, dtype=torch.int64)
    logits: Tensor = model(torch.empty(1, 1, model.region_grid, model.region_grid), t, t)
    return logits


@torch.no_grad()
def _picture(stage: Stage, model: DynamicGrainTransformer, latents: Latents, schedule: Schedule) -> None:
    """Real maps of the training set above as many drawn ones of the same classes; `sample` compares them in numbers."""
    rows = np.linspace(0, latents.rows - 1, SHOWN).round().astype(np.int64)
    real, labels = latents.take_maps(rows, stage.device)
    seeds = [stream_seed(stage.params.seed, "preview", i) for i in range(len(rows))]
    respaced = schedule.respaced(min(SAMPLING_STEPS, schedule.steps))
    drawn = sample_grain_maps(respaced, model, labels, ImageStreams(seeds, stage.device))
    size = latents.region_grid * REGION_PIXELS
    shown = [pictures.grain_map_pictures(maps.cpu().numpy(), model.grains, size) for maps in (real, drawn)]
    picture = pictures.grid(shown, ["real", "drawn"])
    pictures.save_png(stage.out / "maps.png", picture)
    stage.report(stage.params.grain_transformer.images, {}, {"grain_maps": picture})
