"""Stage train_content: train the Dynamic Content Transformer on multi-grained latents."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from d2it import pictures
from d2it.counting import content_pass, size_numbers
from d2it.data.description import read_description
from d2it.data.latents import Latents
from d2it.data.photos import to_uint8
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.model import DynamicVAE, load_dvae
from d2it.initial import put_weights
from d2it.objectives.content import ContentTraining
from d2it.params.architecture import content_arguments
from d2it.saved import describe, read_config, save_model
from d2it.seeds import stream_seed, training_seeds
from d2it.training.curve import save_curve
from d2it.training.transformer import train_transformer
from d2it.transformer.content import DynamicContentTransformer
from stages.initial import initial_folder
from stages.lineage import check_inputs
from stages.stage import Stage

SHOWN, SAMPLING_STEPS, PREVIEW_STEPS = 16, 50, 15


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
    if initial := initial_folder(stage):
        put_weights(model, initial)

    def preview(averaged: DynamicContentTransformer, seen: int) -> None:
        generator = _generator(stage, dvae, averaged, sampler="dpm-solver++", steps=PREVIEW_STEPS)
        shown = {"samples": _samples(stage, generator, latents, p.preview_images)} if p.preview_images else {}
        stage.report(seen, _judged(stage, generator, latents), shown)

    training = ContentTraining(model, latents, p, schedule=schedule, scale=dvae.latent_scale)
    about = {"schedule": p.diffusion.schedule, "objective": p.diffusion.objective, "latents": origin}
    averaged, curve = train_transformer(
        model, training.loss, name="content", read=training.read, params=p.content_transformer,
        micro_batch=p.micro_batch.content_transformer, rows=latents.rows, seeds=seeds,
        checkpoints=stage.checkpoints(describe(model) | about, p.content_transformer), report=stage.report,
        ranks=stage.ranks, sharded=p.shard_weights, shown=("loss",), preview=preview if stage.previews else None,
    )  # fmt: skip
    if not stage.main_rank:
        return {}
    save_model(stage.out, averaged, about)
    save_curve(stage.out / "curve.csv", curve)
    generator = _generator(stage, dvae, averaged, sampler="ddpm", steps=SAMPLING_STEPS)
    picture = _samples(stage, generator, latents, SHOWN)
    pictures.save_png(stage.out / "samples.png", picture)
    stage.report(p.content_transformer.images, {}, {"samples": picture})
    sizes = size_numbers(model, lambda: content_pass(averaged, origin["grain_shares"]))
    return {name: curve[-1][name] for name in ("loss", "mse", "bound")} | sizes


def _generator(
    stage: Stage, dvae: DynamicVAE, content: DynamicContentTransformer, *, sampler: str, steps: int
) -> ImageGenerator:
    """Of samples without guidance; a flow's sampler is Euler's."""
    diffusion = stage.params.diffusion
    most = diffusion.timesteps - (sampler == "dpm-solver++")
    return ImageGenerator(
        dvae=dvae, content=content, schedule=linear_schedule(**diffusion.schedule).to(stage.device),
        objective=diffusion.objective, steps=min(steps, most),
        sampler="euler" if diffusion.objective == "flow" else sampler,
    )  # fmt: skip


def _judged(stage: Stage, generator: ImageGenerator, latents: Latents) -> Mapping[str, float]:
    """Numbers of a preview, where they are asked for."""
    if stage.judge is None:
        return {}
    count, size = stage.judge.images, stage.params.sample.batch_size
    batches = [range(i, min(i + size, count)) for i in range(0, count, size)]
    images = [_drawn(stage, generator, latents, count=count, numbers=numbers)[0] for numbers in batches]
    return stage.judge.samples(np.concatenate(images))


@torch.no_grad()
def _drawn(
    stage: Stage, generator: ImageGenerator, latents: Latents, *, count: int, numbers: range
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Some of `count` samples on grain maps of the training set, and the maps; the same noise each time."""
    rows = np.linspace(0, latents.rows - 1, count).round().astype(np.int64)[numbers]
    maps, labels = latents.take_maps(rows, stage.device)
    seeds = [stream_seed(stage.params.seed, "preview", i) for i in numbers]
    return to_uint8(generator.images(labels, maps, ImageStreams(seeds, stage.device))), maps.cpu().numpy()


def _samples(stage: Stage, generator: ImageGenerator, latents: Latents, count: int) -> NDArray[np.uint8]:
    """A picture of samples, with their maps."""
    images, maps = _drawn(stage, generator, latents, count=count, numbers=range(count))
    images = pictures.enlarge(images, pictures.legible(images))
    overlaid = pictures.overlay(images, maps, len(generator.content.copies))
    return pictures.grid([images, overlaid], ["sample", "grain map"])
