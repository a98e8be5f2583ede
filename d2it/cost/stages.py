"""Operations of every stage of a params file, counted: what its networks compute, per image, times its images.

Two operations per multiply-add of a forward pass; gradients of weights and of inputs are as much again, each. Not
counted: `prepare` and all else that no network does, optimisers, losses, pictures and the film. Results that are there
already, as the reference of `fid`, are counted as if they were not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from d2it.cost.data_size import DataSize
from d2it.cost.memory import grain_inputs
from d2it.cost.models import dvae_halves, empty_dvae
from d2it.cost.networks import EXTRACTOR, perceptual_cost
from d2it.cost.rate import TRAINING_FLOP
from d2it.counting import META, content_pass, multiply_adds
from d2it.diffusion.guidance import guided
from d2it.diffusion.samplers import SAMPLERS, sampling_schedule
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.discriminator import PatchDiscriminator
from d2it.dvae.perceptual import share_seen
from d2it.params.architecture import content_arguments, grain_arguments
from d2it.params.sections import Params, TransformerParams
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer

STAGES = ("train_dvae", "encode_latents", "train_grain", "train_content", "sample", "fid")
FORWARD = 2  # operations per multiply-add; as many for gradients of inputs, and for those of weights
RECOMPUTED = FORWARD  # once more, with activation checkpointing


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage; operations, FLOP, by the precision in which they are made."""

    stage: str
    images: int  # that it trains on, encodes, draws, or looks at
    bfloat16: float = 0.0
    float32: float = 0.0

    @property
    def operations(self) -> float:
        """In both precisions, FLOP."""
        return self.bfloat16 + self.float32


class DVAEStep(NamedTuple):
    """Operations per image of the DVAE's training."""

    autoencoder: float  # in the params' precision
    perceptual: float  # float32, as all that follows
    adversarial: float  # more, once the discriminator has joined


def stage_costs(params: Params, data: DataSize, stages: Sequence[str] = STAGES) -> list[StageCost]:
    """Of some stages in which networks compute; all, if not said, in the pipeline's order."""
    return [_stage_cost(stage, params, data) for stage in STAGES if stage in stages]


def _stage_cost(stage: str, params: Params, data: DataSize) -> StageCost:
    match stage:
        case "train_dvae":
            return _train_dvae(params)
        case "encode_latents":
            return _encode_latents(params, data)
        case "train_grain":
            return _train_transformer(stage, params.grain_transformer, grain_pass_cost(params))
        case "train_content":
            return _train_transformer(stage, params.content_transformer, content_pass_cost(params))
        case "sample":
            return _sample(params, data)
    return _fid(params, data)


def dvae_step(params: Params) -> DVAEStep:
    """A step's parts.

    The perceptual network has no gradients of weights, and none at all for the originals. A discriminator that has
    joined sees two images in its own update, and the reconstruction in the autoencoder's; there, gradients go back
    to the decoder's last layer once more, through it and through the perceptual network, for the adaptive weight.
    """
    p, size = params.dvae, params.data.image_size
    perceived = share_seen(p.batch_size, p.perceptual_share).mean() if p.perceptual_weight > 0 else 0.0
    perceptual = float(perceived) * (_perceptual(params) if perceived else 0)
    adversarial = 0.0
    if p.adversarial_weight > 0:
        with META:
            discriminator = PatchDiscriminator(p.discriminator_channels, p.discriminator_layers)
        judged = multiply_adds(lambda: discriminator.layers(torch.empty(1, 3, *size)))
        adversarial = judged * (2 * TRAINING_FLOP + 3 * FORWARD) + FORWARD * perceptual
    return DVAEStep(TRAINING_FLOP * sum(_halves(params)), 3 * FORWARD * perceptual, adversarial)


def content_passes(params: Params, classes: int) -> int:
    """Passes of the content transformer that a sample takes, guided ones twice: the sampler runs, without a model."""
    sample, passes = params.sample, 0

    def model(z: Tensor, _: Tensor, __: Tensor, ___: Tensor) -> Tensor:
        nonlocal passes
        passes += len(z)
        return torch.zeros(len(z), 2, 1, 1)

    schedule = sampling_schedule(linear_schedule(**params.diffusion.schedule), sample.sampler, sample.steps)
    one = torch.zeros(1, 1, 1, 1)
    predict = guided(
        model, schedule, labels=torch.zeros(1, dtype=torch.int64), no_class=classes, grain_map=one,
        scale=sample.guidance, interval=sample.guidance_interval, objective=params.diffusion.objective,
    )  # fmt: skip
    SAMPLERS[sample.sampler](schedule, predict, lambda: one)
    return passes


def training_operations(p: TransformerParams, cost: int) -> float:
    """Per image, of a transformer whose pass takes `cost` multiply-adds; recomputed blocks are counted again."""
    return cost * (TRAINING_FLOP + (RECOMPUTED if p.activation_checkpointing else 0))


def grain_pass_cost(params: Params) -> int:
    """Multiply-adds of the grain transformer on one image; the number of classes does not matter."""
    with META:
        model = DynamicGrainTransformer(**grain_arguments(params, 0))
    return multiply_adds(lambda: model(**grain_inputs(params.region_grid, 1)))


def content_pass_cost(params: Params) -> int:
    """Multiply-adds of the content transformer on one image, at the params' ratio of grains."""
    with META:
        model = DynamicContentTransformer(**content_arguments(params, 0))
    return multiply_adds(lambda: content_pass(model, params.grain.shares))


def _train_dvae(params: Params) -> StageCost:
    p, step = params.dvae, dvae_step(params)
    seen = p.steps * p.batch_size
    joined = max(0, seen - p.adversarial_start)
    return _cost("train_dvae", seen, p.precision, seen * step.autoencoder, float32=seen * step.perceptual
                 + joined * step.adversarial)  # fmt: skip


def _encode_latents(params: Params, data: DataSize) -> StageCost:
    rows = data.train * (2 if params.data.flip else 1)
    return StageCost(stage="encode_latents", images=rows, float32=FORWARD * rows * _halves(params)[0])


def _train_transformer(stage: str, p: TransformerParams, cost: int) -> StageCost:
    seen = p.steps * p.batch_size
    return _cost(stage, seen, p.precision, seen * training_operations(p, cost))


def _sample(params: Params, data: DataSize) -> StageCost:
    sample = params.sample
    content = content_passes(params, data.classes) * content_pass_cost(params)
    other = _halves(params)[1]
    if sample.grain_source == "transformer":
        passes = 1 if sample.grain_guidance == 1 or data.classes == 0 else 2
        other += passes * sample.grain_steps * grain_pass_cost(params)
    per_image = FORWARD * sample.images
    return _cost("sample", sample.images, sample.precision, per_image * content, float32=per_image * other)


def _fid(params: Params, data: DataSize) -> StageCost:
    """Samples, reconstructions and originals, and the training images that are compared with or teach classes."""
    fid = params.fid
    taught = min(data.train, fid.classifier_images) if data.classes > 1 else 0
    images = params.sample.images + 2 * data.validation + (data.train if fid.reference == "train" else taught)
    reconstruction = sum(_halves(params))
    if params.dvae.perceptual_weight > 0:
        reconstruction += 2 * _perceptual(params)
    total = images * EXTRACTOR[fid.extractor] * 1e9 + data.validation * reconstruction
    return StageCost(stage="fid", images=images, float32=FORWARD * total)


def _cost(stage: str, images: int, precision: str, operations: float, *, float32: float = 0.0) -> StageCost:
    """`operations` in the params' precision, and those that are float32 in any."""
    if precision == "bfloat16":
        return StageCost(stage=stage, images=images, bfloat16=operations, float32=float32)
    return StageCost(stage=stage, images=images, float32=operations + float32)


def _perceptual(params: Params) -> int:
    return perceptual_cost(params.dvae.perceptual, params.data.image_size)


def _halves(params: Params) -> tuple[int, int]:
    return dvae_halves(empty_dvae(params), params.data.image_size)
