"""Stage train_content: train the Dynamic Content Transformer on multi-grained latents."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from d2it import pictures
from d2it.counting import content_pass, size_numbers
from d2it.data.description import read_description
from d2it.data.latents import Latents
from d2it.data.photos import to_uint8
from d2it.diffusion.content import draw_content_loss
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.model import load_dvae
from d2it.params.architecture import content_arguments
from d2it.saved import describe, read_config, save_model
from d2it.seeds import stream_seed, training_seeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.curve import save_curve
from d2it.training.loop import MicroBatch
from d2it.training.transformer import train_transformer
from d2it.transformer.content import DynamicContentTransformer
from stages.lineage import check_inputs
from stages.stage import Stage

SHOWN, SAMPLING_STEPS = 16, 50


def main(stage: Stage) -> dict[str, float]:
    """Writes weights.safetensors, config.json, curve.csv and samples.png.

    Returns:
        The last point of the curve, the model's parameters, and its multiply-adds at the measured shares of grains.
    """
    p, device = stage.params, stage.device
    check_inputs(stage, "prepare", "train_dvae", "encode_latents")
    folder = stage.outputs / "encode_latents" / "train"
    latents, origin = Latents(folder), read_config(folder)
    dvae = load_dvae(stage.outputs / "train_dvae", device)
    schedule = linear_schedule(**p.diffusion.schedule).to(device)
    seeds = training_seeds(p.seed, p.seeds, "content")
    torch.manual_seed(seeds.weights)
    model = DynamicContentTransformer(
        **content_arguments(p, len(read_description(stage.outputs / "prepare").classes)),
        activation_checkpointing=p.content_transformer.activation_checkpointing,
    ).to(device)

    def loss(micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        losses = draw_content_loss(
            schedule, model, latents.spread(micro.data, device), micro.generator, scale=dvae.latent_scale,
            label_dropout=p.content_transformer.label_dropout, objective=p.diffusion.objective,
            weighting=p.content_transformer.loss_weighting, flow_times=p.diffusion.flow_times,
        )  # fmt: skip
        means = {name: values.mean() for name, values in losses._asdict().items()}
        return means["loss"], means

    about = {"schedule": p.diffusion.schedule, "objective": p.diffusion.objective, "latents": origin}
    averaged, curve = train_transformer(
        model, loss, name="content", read=partial(latents.read, pinned=device.type == "cuda"),
        params=p.content_transformer, rows=latents.rows, seeds=seeds,
        checkpoints=Checkpoints(stage.scratch, describe(model) | about),
        report=stage.report, ranks=stage.ranks,
    )  # fmt: skip
    if not stage.main_rank:
        return {}
    save_model(stage.out, averaged, about)
    save_curve(stage.out / "curve.csv", curve)
    sampler, steps = "euler" if p.diffusion.objective == "flow" else "ddpm", min(SAMPLING_STEPS, p.diffusion.timesteps)
    generator = ImageGenerator(
        dvae=dvae, content=averaged, schedule=schedule, objective=p.diffusion.objective, steps=steps, sampler=sampler,
    )  # fmt: skip
    _picture(stage, generator, latents)
    sizes = size_numbers(averaged, lambda empty: content_pass(empty, origin["grain_shares"]))
    return {name: curve[-1][name] for name in ("loss", "mse", "bound")} | sizes


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
    stage.report(stage.params.content_transformer.images, {}, {"samples": picture})
