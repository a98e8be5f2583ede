"""Stage train_grain: train the Dynamic Grain Transformer on the grain maps of the training set."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.counting import size_numbers
from d2it.data.description import read_description
from d2it.data.latents import Latents
from d2it.diffusion.grain import draw_grain_loss, sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import Schedule, linear_schedule
from d2it.evaluation.grain_maps import compare_maps, fine_frequency, frequent_patterns
from d2it.params.architecture import grain_arguments
from d2it.saved import describe, read_config, save_model
from d2it.seeds import stream_seed
from d2it.training.checkpoints import Checkpoints
from d2it.training.curve import save_curve
from d2it.training.loop import MicroBatch
from d2it.training.transformer import train_transformer
from d2it.transformer.grain import DynamicGrainTransformer
from stages.lineage import check_inputs
from stages.stage import Stage

JUDGED, SHOWN, BATCH = 512, 16, 256
PATTERNS = 8  # printed
REGION_PIXELS = 16  # in the picture
SAMPLING_STEPS = 50


def main(stage: Stage) -> dict[str, float]:
    """Writes weights.safetensors, config.json, curve.csv and maps.png.

    Returns:
        How sampled maps compare with real ones, the model's parameters and its multiply-adds.
    """
    p, device = stage.params, stage.device
    check_inputs(stage, "prepare", "encode_latents")
    folder = stage.outputs / "encode_latents" / "train"
    latents = Latents(folder)
    schedule = linear_schedule(**p.diffusion.schedule).to(device)
    torch.manual_seed(stream_seed(p.seed, "grain", "weights"))
    model = DynamicGrainTransformer(
        **grain_arguments(p, len(read_description(stage.outputs / "prepare").classes)),
        activation_checkpointing=p.grain_transformer.activation_checkpointing,
    ).to(device)

    def loss(micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        maps, labels = latents.take_maps(micro.rows, device)
        hidden, g = p.grain_transformer.label_dropout, micro.generator
        entropy = draw_grain_loss(schedule, model, maps, labels, generator=g, label_dropout=hidden).mean()
        return entropy, {"cross_entropy": entropy}

    about = {"schedule": p.diffusion.schedule, "latents": read_config(folder)}
    averaged, curve = train_transformer(
        model, loss, name="grain", params=p.grain_transformer, rows=latents.rows, seed=stream_seed(p.seed, "grain"),
        checkpoints=Checkpoints(stage.scratch, describe(model) | about), report=stage.report, ranks=stage.ranks,
    )  # fmt: skip
    if not stage.main_rank:
        return {}
    save_model(stage.out, averaged, about)
    save_curve(stage.out / "curve.csv", curve)
    return _judge(stage, averaged, latents, schedule) | size_numbers(averaged, _one_pass)


def _one_pass(model: DynamicGrainTransformer) -> Tensor:
    t = torch.zeros(1, dtype=torch.int64)
    logits: Tensor = model(torch.empty(1, 1, model.region_grid, model.region_grid), t, t)
    return logits


@torch.no_grad()
def _judge(stage: Stage, model: DynamicGrainTransformer, latents: Latents, schedule: Schedule) -> dict[str, float]:
    """Sampled maps beside as many real maps, drawn over the training set, of the same classes."""
    p, device = stage.params, stage.device
    rows = np.linspace(0, latents.rows - 1, min(JUDGED, latents.rows)).round().astype(np.int64)
    real, labels = latents.take_maps(rows, device)
    respaced = schedule.respaced(min(SAMPLING_STEPS, schedule.steps))
    sampled = []
    for start in range(0, len(rows), BATCH):
        part = labels[start : start + BATCH]
        seeds = [stream_seed(p.seed, "judge", start + i) for i in range(len(part))]
        sampled.append(sample_grain_maps(respaced, model, part, ImageStreams(seeds, device)))
    ours, theirs = torch.cat(sampled).cpu().numpy(), real.cpu().numpy()
    numbers = compare_maps(ours, theirs, model.grains)
    print("sampled against real grain maps: " + ", ".join(f"{k} {v:.4f}" for k, v in numbers.items()), flush=True)
    patterns = frequent_patterns(ours, theirs, model.grains, PATTERNS)
    print("2 x 2 patterns, sampled (real): " + ", ".join(f"{p} {a:.3f} ({b:.3f})" for p, a, b in patterns), flush=True)
    picture = _picture(theirs, ours, model.grains)
    pictures.save_png(stage.out / "maps.png", picture)
    stage.report(p.grain_transformer.images, {}, {"grain_maps": picture})
    return numbers


def _picture(real: NDArray[np.uint8], sampled: NDArray[np.uint8], grains: int) -> NDArray[np.uint8]:
    """Real maps above sampled ones, and how often each region is fine in all of them."""
    shown = np.linspace(0, len(real) - 1, SHOWN).astype(np.int64)
    size = real.shape[1] * REGION_PIXELS
    rows = []
    for maps in (real, sampled):
        frequency = pictures.frequency_pictures(fine_frequency(maps, grains)[None], size)
        rows.append(np.concatenate([pictures.grain_map_pictures(maps[shown], grains, size), frequency]))
    return pictures.grid(rows, ["real", "sampled"], [""] * SHOWN + ["fine"])
