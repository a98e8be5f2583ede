"""Stage train_content: train the Dynamic Content Transformer on multi-grained latents."""

import numpy as np
import torch
from torch import Tensor

from d2it import pictures
from d2it.data.latents import Latents
from d2it.data.photos import to_uint8
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.loss import diffusion_loss
from d2it.diffusion.noise import ImageStreams, multi_grained_noise
from d2it.diffusion.schedule import Schedule, add_noise, linear_schedule
from d2it.dvae.model import load_dvae
from d2it.grain.codes import code_weight
from d2it.saved import read_config, save_model
from d2it.seeds import stream_seed
from d2it.training.checkpoints import Checkpoints
from d2it.training.curve import save_curve
from d2it.training.ema import EMA
from d2it.training.labels import drop_labels
from d2it.training.loop import MicroBatch, Run, Update, train
from d2it.transformer.content import DynamicContentTransformer, build_content
from stages.inputs import classes
from stages.lineage import check_inputs
from stages.stage import Stage

SHOWN, SAMPLING_STEPS = 16, 50


class ContentLoss:
    """The multi-grained loss of a micro-batch."""

    def __init__(
        self, stage: Stage, model: DynamicContentTransformer, latents: Latents, schedule: Schedule, scale: float
    ):
        self.params, self.device = stage.params, stage.device
        self.model, self.latents, self.schedule, self.scale = model, latents, schedule, scale

    def __call__(self, micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        p, g, copies = self.params, micro.generator, self.model.copies
        batch = self.latents.take(micro.rows, self.device)
        shape, grain_map = batch.mean.shape, batch.grain_map

        def noise() -> Tensor:
            independent = torch.randn(shape, generator=g, device=self.device)
            return multi_grained_noise(independent, grain_map, copies)

        z_0 = self.scale * (batch.mean + batch.std * noise())
        index = torch.randint(self.schedule.steps, (shape[0],), generator=g, device=self.device)
        epsilon = noise()
        z_t = add_noise(self.schedule, z_0, epsilon, index)
        labels = drop_labels(batch.labels, p.content.label_dropout, self.model.condition.no_class, g)
        output = self.model(z_t, self.schedule.timestep[index], labels, grain_map)
        weight = code_weight(grain_map, copies)
        if p.content.loss_weighting == "position":
            weight = torch.ones_like(weight)
        found = diffusion_loss(self.schedule, output, z_0, z_t, epsilon, index, weight, p.diffusion.objective)
        loss = found.loss.mean()
        return loss, {"loss": loss, "mse": found.mse.mean(), "bound": found.bound.mean()}


def main(stage: Stage) -> dict[str, float]:
    """Writes weights.safetensors, config.json, curve.csv and samples.png; returns the last point of the curve."""
    p, device = stage.params, stage.device
    check_inputs(stage, "prepare", "train_dvae", "encode_latents")
    folder = stage.outputs / "encode_latents" / "train"
    latents = Latents(folder)
    dvae = load_dvae(stage.outputs / "train_dvae", device)
    config = {
        "content": p.content.model_dump(),
        "refinenet": p.refinenet.model_dump(),
        "diffusion": p.diffusion.model_dump(),
        "factors": dvae.config.factors,
        "latent_grid": latents.latent_grid,
        "latent_channels": latents.latent_channels,
        "classes": classes(stage.outputs),
        "latents": read_config(folder),
    }
    torch.manual_seed(stream_seed(p.seed, "content", "weights"))
    model = build_content(config).to(device)
    schedule = linear_schedule(p.diffusion.timesteps, p.diffusion.beta_start, p.diffusion.beta_end).to(device)
    loss = ContentLoss(stage, model, latents, schedule, dvae.latent_scale)
    adamw = torch.optim.AdamW(model.parameters(), weight_decay=p.content.weight_decay, fused=True)
    ema = EMA(model, p.content.ema_decay)
    run = Run(
        p.content,
        latents.rows,
        stream_seed(p.seed, "content"),
        device,
        Checkpoints(stage.scratch, config),
        stage.report,
        "train_content",
        ema,
        stage.ranks,
    )
    curve = train([Update("content", model, adamw, p.content.learning_rate, loss)], run)
    if not stage.leads:
        return {}
    save_model(stage.out, ema.model, config)
    save_curve(stage.out / "curve.csv", curve)
    _picture(stage, ImageGenerator(dvae, ema.model, p.diffusion, min(SAMPLING_STEPS, p.diffusion.timesteps)), latents)
    return {name: value for name, value in curve[-1].items() if name in ("loss", "mse", "bound")}


@torch.no_grad()
def _picture(stage: Stage, generator: ImageGenerator, latents: Latents) -> None:
    """Samples without guidance on grain maps of the training set, with the maps."""
    rows = np.linspace(0, latents.rows - 1, SHOWN).round().astype(np.int64)
    maps, labels = latents.take_maps(rows, stage.device)
    seeds = [stream_seed(stage.params.seed, "preview", i) for i in range(len(rows))]
    images = to_uint8(generator.images(labels, maps, ImageStreams(seeds, stage.device)))
    images = pictures.enlarge(images, pictures.legible(images.shape[1]))
    overlaid = pictures.overlay(images, maps.cpu().numpy(), len(generator.content.copies))
    picture = pictures.grid([images, overlaid], ["sample", "grain map"])
    pictures.save_png(stage.out / "samples.png", picture)
    stage.report(stage.params.content.images, {}, {"samples": picture})
