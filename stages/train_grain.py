"""Stage train_grain: train the Dynamic Grain Transformer on the grain maps of the training set."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2it import pictures
from d2it.data.latents import Latents
from d2it.diffusion.grain import grain_loss, sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.grain.statistics import compare_maps, fine_frequency, frequent_patterns
from d2it.saved import read_config, save_model
from d2it.seeds import stream_seed
from d2it.training.checkpoints import Checkpoints
from d2it.training.curve import save_curve
from d2it.training.ema import EMA
from d2it.training.labels import drop_labels
from d2it.training.loop import MicroBatch, Run, Update, train
from d2it.transformer.grain import DynamicGrainTransformer, build_grain
from stages.inputs import classes
from stages.lineage import check_inputs
from stages.stage import Stage

JUDGED, SHOWN, BATCH = 512, 16, 256
PATTERNS = 8  # printed
REGION_PIXELS = 16  # in the picture
SAMPLING_STEPS = 50


def main(stage: Stage) -> dict[str, float]:
    """Writes weights.safetensors, config.json, curve.csv, maps.png; returns how sampled maps compare with real ones."""
    p, device = stage.params, stage.device
    check_inputs(stage, "prepare", "encode_latents")
    folder = stage.outputs / "encode_latents" / "train"
    latents, made_from = Latents(folder), read_config(folder)
    grains = len(made_from["factors"])
    config = {
        "dgt": p.dgt.model_dump(),
        "diffusion": p.diffusion.model_dump(include={"timesteps", "beta_start", "beta_end"}),
        "grains": grains,
        "region_grid": latents.region_grid,
        "classes": classes(stage.outputs),
        "latents": made_from,
    }
    torch.manual_seed(stream_seed(p.seed, "grain", "weights"))
    model = build_grain(config).to(device)
    schedule = linear_schedule(p.diffusion.timesteps, p.diffusion.beta_start, p.diffusion.beta_end).to(device)

    def loss(micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        maps, labels = latents.take_maps(micro.rows, device)
        g = micro.generator
        index = torch.randint(schedule.steps, (len(maps),), generator=g, device=device)
        noise = torch.randn(len(maps), 1, *maps.shape[1:], generator=g, device=device)
        labels = drop_labels(labels, p.dgt.label_dropout, model.no_class, g)
        value = grain_loss(schedule, model, maps, grains, index, labels, noise).mean()
        return value, {"cross_entropy": value}

    adamw = torch.optim.AdamW(model.parameters(), weight_decay=p.dgt.weight_decay, fused=True)
    ema = EMA(model, p.dgt.ema_decay)
    run = Run(
        p.dgt,
        latents.rows,
        stream_seed(p.seed, "grain"),
        device,
        Checkpoints(stage.scratch, config),
        stage.report,
        "train_grain",
        ema,
        stage.ranks,
    )
    curve = train([Update("grain", model, adamw, p.dgt.learning_rate, loss)], run)
    if not stage.leads:
        return {}
    save_model(stage.out, ema.model, config)
    save_curve(stage.out / "curve.csv", curve)
    return _judge(stage, ema.model, latents, grains)


@torch.no_grad()
def _judge(stage: Stage, model: DynamicGrainTransformer, latents: Latents, grains: int) -> dict[str, float]:
    """Sampled maps beside as many real maps, drawn over the training set, of the same classes."""
    p, device = stage.params, stage.device
    rows = np.linspace(0, latents.rows - 1, min(JUDGED, latents.rows)).round().astype(np.int64)
    real, labels = latents.take_maps(rows, device)
    full = linear_schedule(p.diffusion.timesteps, p.diffusion.beta_start, p.diffusion.beta_end).to(device)
    schedule = full.respaced(min(SAMPLING_STEPS, p.diffusion.timesteps))
    sampled = []
    for start in range(0, len(rows), BATCH):
        part = labels[start : start + BATCH]
        seeds = [stream_seed(p.seed, "judge", start + i) for i in range(len(part))]
        sampled.append(sample_grain_maps(schedule, model, part, latents.region_grid, ImageStreams(seeds, device)))
    ours, theirs = torch.cat(sampled).cpu().numpy(), real.cpu().numpy()
    numbers = compare_maps(ours, theirs, grains)
    print("sampled against real grain maps: " + ", ".join(f"{k} {v:.4f}" for k, v in numbers.items()), flush=True)
    patterns = frequent_patterns(ours, theirs, grains, PATTERNS)
    print("2 x 2 patterns, sampled (real): " + ", ".join(f"{p} {a:.3f} ({b:.3f})" for p, a, b in patterns), flush=True)
    picture = _picture(theirs, ours, grains)
    pictures.save_png(stage.out / "maps.png", picture)
    stage.report(p.dgt.images, {}, {"grain_maps": picture})
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
