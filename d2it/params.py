"""params.yaml: every knob of the pipeline, its unit, its range, and which combinations make sense.

This is the one place that reads, checks and explains params. It holds no defaults: a params file is complete,
so two files that differ only in a comment mean the same run, and this file needs to be no dependency of a stage.
"""

import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class ParamsError(ValueError):
    """A params file that cannot be used; the message has one line for each wrong key."""


class Section(BaseModel):
    """Strict section of params.yaml: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Section):
    """`data`: which images, at which size."""

    source: str = Field(description="'skimage' (eight photos of the scikit-image wheel), or a folder or zip of images")
    labels: Literal["folder", "none"] = Field(description="class = folder that holds the image, or no classes")
    image_size: PositiveInt = Field(description="height and width of a training image, pixels")
    flip: bool = Field(description="also train on images mirrored left to right")
    validation: OpenShare = Field(description="share of images held out, where the source has no split of its own")
    train_crops: PositiveInt = Field(description="skimage only: number of random training crops")
    validation_crops: PositiveInt = Field(description="skimage only: number of random validation crops")


class Grain(Section):
    """`grain`: regions, their entropy, and which share of them is fine (paper section 3.1)."""

    factors: list[PositiveInt] = Field(
        description="downsampling factors, ascending powers of two; [8, 16] in the paper"
    )
    fine_ratio: Share | list[Share] = Field(
        description="share of regions that are fine (k = 2), or shares of the k grains from coarsest to finest, sum 1"
    )
    bandwidth: Positive = Field(
        description="sigma of the kernel density, in units of intensity [0, 1]; 0.01 in the paper"
    )

    @property
    def shares(self) -> list[float]:
        """Share of regions of each grain, coarsest first, k numbers that sum to 1."""
        if isinstance(self.fine_ratio, list):
            return list(self.fine_ratio)
        return [1.0] if len(self.factors) == 1 else [1.0 - self.fine_ratio, float(self.fine_ratio)]

    @property
    def region_size(self) -> int:
        """S, the side of a region in pixels."""
        return self.factors[-1]


class Training(Section):
    """What the three training stages share."""

    images: PositiveInt = Field(description="images seen in all of training, counted with repetition")
    batch_size: PositiveInt = Field(description="images a step, over all ranks")
    micro_batch: PositiveInt = Field(description="images a forward pass; divides batch_size; ranks share micro-batches")
    warmup_images: Count = Field(description="images over which the learning rate rises linearly from 0")
    cooldown_images: Count = Field(
        description="images at the end over which it falls linearly to 0; 0 = constant (paper)"
    )
    gradient_clip: NonNegative = Field(description="largest gradient norm; 0 = no clipping")
    precision: Literal["float32", "bfloat16"] = Field(description="autocast of the forward pass; weights stay float32")
    log_images: PositiveInt = Field(description="images between two points of the curves")
    checkpoint_images: PositiveInt = Field(description="images between two checkpoints")

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return -(-self.images // self.batch_size)


class DVAE(Training):
    """`dvae`: the Dynamic VAE (stage 1)."""

    base_learning_rate: Positive = Field(
        description="times batch_size = Adam's learning rate, as in LDM; 4.5e-6 in the paper"
    )
    channels: PositiveInt = Field(description="channels at full resolution; a multiple of 32, or 8 or 16; 128 in LDM")
    multipliers: list[PositiveInt] = Field(description="channel multiplier of each level; [1, 2, 4, 4] in LDM")
    res_blocks: PositiveInt = Field(description="residual blocks a level; 2 in LDM")
    latent_channels: PositiveInt = Field(description="channels of a code, z; 4 in the paper")
    regularizer: Literal["kl", "vq"] = Field(description="KL to N(0, I), or vector quantisation at the decoder's input")
    kl_weight: NonNegative = Field(description="weight of the KL term, kl only; 1e-6 in LDM")
    codebook_size: PositiveInt = Field(description="K, vq only; 1024 in the paper")
    perceptual_weight: NonNegative = Field(
        description="weight of LPIPS(VGG), needs downloaded weights; 1.0 in the paper"
    )
    adversarial_weight: NonNegative = Field(
        description="weight of the PatchGAN loss, times the adaptive weight; 0.75 in the paper"
    )
    adversarial_start: Count = Field(description="images after which the discriminator joins")
    adversarial_warmup: Count = Field(description="images over which its weight then rises linearly")
    discriminator_channels: PositiveInt = Field(description="channels of the PatchGAN's first layer; 64 in LDM")
    discriminator_layers: PositiveInt = Field(description="strided layers of the PatchGAN after the first; 3 in LDM")


class Transformer(Training):
    """What the grain and the content transformer share."""

    learning_rate: Positive = Field(description="AdamW's; 1e-4 in the paper")
    weight_decay: NonNegative = Field(description="AdamW's; 0 in DiT")
    ema_decay: Probability = Field(description="decay of the averaged weights a step; 0.9999 in DiT")
    layers: PositiveInt = Field(description="adaLN-Zero blocks")
    width: PositiveInt = Field(description="channels of a token")
    heads: PositiveInt = Field(description="attention heads; divides width")
    dropout: Probability = Field(description="after attention and inside the MLP; 0.1 in the paper")
    label_dropout: Probability = Field(description="share of labels hidden, for classifier-free guidance; 0.1 in DiT")
    activation_checkpointing: bool = Field(description="recompute blocks in the backward pass: less memory, more time")


class DGT(Transformer):
    """`dgt`: the Dynamic Grain Transformer (stage 2a)."""


class Content(Transformer):
    """`content`: backbone and loss of the Dynamic Content Transformer (stage 2b)."""

    loss_weighting: Literal["code", "position"] = Field(
        description="'code': a coarse region counts once (the dynamic grain loss); 'position': once for each copy"
    )
    position: Literal["learnable", "fixed"] = Field(
        description="position embedding in RefineNet: learnable, or sin-cos"
    )


class RefineNet(Section):
    """`refinenet`: the Efficient RefineNet."""

    layers: Count = Field(description="adaLN-Zero blocks; 0 = no RefineNet, fine noise from the backbone's head")
    window: PositiveInt | Literal["full"] = Field(description="side of an attention window, finest codes, or 'full'")
    tokens: Literal["fine", "all"] = Field(description="compute the tokens of fine regions only, or of all regions")


class Diffusion(Section):
    """`diffusion`: the forward process of both transformers."""

    timesteps: PositiveInt = Field(description="T; 1000 in the paper")
    beta_start: Positive = Field(description="first beta of the linear schedule; 1e-4")
    beta_end: Positive = Field(description="last beta of the linear schedule; 0.02")
    objective: Literal["epsilon", "v"] = Field(
        description="what the content transformer predicts; epsilon in the paper"
    )


class Sample(Section):
    """`sample`: how many images are drawn, and how."""

    images: PositiveInt = Field(description="number of samples; 10000 on FFHQ and 50000 on ImageNet in the paper")
    batch_size: PositiveInt = Field(description="images a batch; part of the result's rounding")
    sampler: Literal["ddpm", "ddim", "dpm-solver++"] = Field(description="ddpm in the paper")
    steps: PositiveInt = Field(description="sampling steps of the content transformer; 250 in the paper")
    grain_steps: PositiveInt = Field(description="sampling steps of the grain transformer; 250 in the paper")
    guidance: NonNegative = Field(description="classifier-free guidance scale, on all latent channels; 1 = none")
    guidance_interval: list[Share] = Field(description="[from, to], share of the noise levels guided; [0, 1] = all")
    grain_source: Literal["transformer", "real", "random"] = Field(
        description="grain maps from the grain transformer, of training images, or random at the same ratio"
    )


class FID(Section):
    """`fid`: the extractor of the Frechet distances."""

    extractor: Literal["inception", "random"] = Field(
        description="'inception': FID; 'random': the same network with seeded weights, reported under another name"
    )
    batch_size: PositiveInt = Field(description="images a batch; part of the result's rounding")
    reference: Literal["train", "validation"] = Field(description="real images to compare with")
    reconstructions: PositiveInt = Field(description="validation images whose reconstructions rFID compares, at most")
    neighbours: PositiveInt = Field(description="k of precision and recall; 3 in the ADM evaluator")
    neighbour_images: PositiveInt = Field(description="images of each side that precision and recall use, at most")


class Params(Section):
    """params.yaml as a whole."""

    seed: Count = Field(description="of all randomness")
    data: Data
    grain: Grain
    dvae: DVAE
    dgt: DGT
    content: Content
    refinenet: RefineNet
    diffusion: Diffusion
    sample: Sample
    fid: FID

    @property
    def region_grid(self) -> int:
        """Regions along a side of the image; also the side of a grain map."""
        return self.data.image_size // self.grain.region_size

    @property
    def latent_grid(self) -> int:
        """Finest codes along a side of the image."""
        return self.data.image_size // self.grain.factors[0]


def _normalizes(channels: int) -> bool:
    """Channels can be cut into 32 groups, or, if few, into groups of 4."""
    return channels % 32 == 0 or channels in (8, 16)


def _is_power_of_two(n: int) -> bool:
    return n & (n - 1) == 0


def impossible_combinations(params: Params) -> list[str]:
    """One line for each combination of valid values that cannot work together, as 'key = value: what is allowed'."""
    lines: list[str] = []

    def need(holds: bool, key: str, allowed: str) -> None:
        if not holds:
            value: Any = params
            for part in key.split("."):
                value = getattr(value, part)
            lines.append(f"{key} = {value!r}: {allowed}")

    factors, size = params.grain.factors, params.data.image_size
    good_factors = (
        bool(factors) and factors == sorted(set(factors)) and all(_is_power_of_two(f) and f > 1 for f in factors)
    )
    need(good_factors, "grain.factors", "must be different powers of two above 1, ascending, such as [8, 16]")
    if good_factors:
        k = len(factors)
        doubling = all(b == 2 * a for a, b in itertools.pairwise(factors))
        need(doubling, "grain.factors", "each factor must be twice the one before")
        need(size % factors[-1] == 0, "data.image_size", f"must be a multiple of the largest factor, {factors[-1]}")
        need(
            isinstance(params.grain.fine_ratio, list) or k <= 2,
            "grain.fine_ratio",
            f"must be a list of {k} shares from coarsest to finest, one for each of grain.factors",
        )
        if isinstance(params.grain.fine_ratio, list):
            one_each = len(params.grain.shares) == k and abs(sum(params.grain.shares) - 1) < 1e-6
            need(
                one_each,
                "grain.fine_ratio",
                f"a list must hold {k} shares, one for each of grain.factors, that sum to 1",
            )
        levels = len(params.dvae.multipliers)
        needed = factors[0].bit_length()
        need(levels == needed, "dvae.multipliers", f"must have {needed} levels for a smallest factor of {factors[0]}")
        grid = size // factors[0]
        window = params.refinenet.window
        fits = window == "full" or (grid % window == 0 and window >= 2 ** (k - 1))
        need(
            fits or params.refinenet.layers == 0,
            "refinenet.window",
            f"must divide the latent grid, {grid} (= data.image_size / smallest factor), hold whole regions "
            f"(at least {2 ** (k - 1)}), or be 'full'",
        )
    need(_normalizes(params.dvae.channels), "dvae.channels", "must be a multiple of 32, or 8 or 16 (GroupNorm)")
    for name, section in (("dvae", params.dvae), ("dgt", params.dgt), ("content", params.content)):
        need(
            section.batch_size % section.micro_batch == 0,
            f"{name}.micro_batch",
            f"must divide {name}.batch_size, {section.batch_size}",
        )
        need(
            section.warmup_images + section.cooldown_images <= section.images,
            f"{name}.warmup_images",
            f"warm-up and cool-down together must fit into {name}.images, {section.images}",
        )
    for name, model in (("dgt", params.dgt), ("content", params.content)):
        need(model.width % model.heads == 0, f"{name}.heads", f"must divide {name}.width, {model.width}")
        need(model.width % 4 == 0, f"{name}.width", "must be a multiple of 4 (sin-cos positions in two directions)")
    T = params.diffusion.timesteps
    need(
        params.diffusion.beta_start <= params.diffusion.beta_end < 1, "diffusion.beta_end", "must be in [beta_start, 1)"
    )
    need(params.sample.steps <= T, "sample.steps", f"must be at most diffusion.timesteps, {T}")
    need(params.sample.grain_steps <= T, "sample.grain_steps", f"must be at most diffusion.timesteps, {T}")
    interval = params.sample.guidance_interval
    need(
        len(interval) == 2 and interval[0] <= interval[-1], "sample.guidance_interval", "must be [from, to], from <= to"
    )
    return lines


def _allowed(error: Any) -> str:
    """What pydantic expected, in words for somebody who edits a YAML file."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    words = {
        "greater_than_equal": ">= {ge}",
        "greater_than": "> {gt}",
        "less_than_equal": "<= {le}",
        "less_than": "< {lt}",
    }
    if kind in words:
        return f"must be {words[kind].format(**context)}"
    types = {
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "list_type": "a list",
    }
    types |= {
        "string_type": "text",
        "model_type": "a section with keys",
        "model_attributes_type": "a section with keys",
    }
    return f"must be {types[kind]}" if kind in types else error["msg"]


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """Keys that the section at `location` (without its last part) allows."""
    model: Any = Params
    for part in location[:-1]:
        model = model.model_fields[part].annotation
    return sorted(model.model_fields)


def _lines(errors: list[Any]) -> list[str]:
    """One line a wrong key; the alternatives of a union are joined with 'or'."""
    found: dict[str, tuple[str, list[str]]] = {}
    for error in errors:
        location = error["loc"]
        if error["type"] == "extra_forbidden":
            allowed = f"unknown key; allowed here: {', '.join(_known_keys(location))}"
        else:
            allowed = _allowed(error)
        names = [str(part) for part in location if not (isinstance(part, str) and part.split("[")[0] in _UNION_PARTS)]
        key = ".".join(names)
        value = "" if error["type"] in ("missing", "extra_forbidden") else f" = {error['input']!r}"
        found.setdefault(key, (value, []))[1].append(allowed)
    return [f"{key}{value}: {' or '.join(dict.fromkeys(allowed))}" for key, (value, allowed) in found.items()]


_UNION_PARTS = {"int", "float", "list", "literal", "constrained-int", "constrained-float"}


def parse(values: Any, origin: str = "params.yaml") -> Params:
    """Check a nested dictionary, as YAML gives it.

    Raises:
        ParamsError: one line 'origin: key = value: what is allowed' for each wrong key, all at once.
    """
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(f"{origin}: {line}" for line in _lines(error.errors()))) from None
    lines = impossible_combinations(params)
    if lines:
        raise ParamsError("\n".join(f"{origin}: {line}" for line in lines))
    return params


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check a params file.

    Raises:
        ParamsError: the file is missing, no YAML, or wrong; the message names each wrong key.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; start from one in presets/") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return parse(values, str(path))


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as in YAML 1.2, which DVC writes."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)$"),
    list("-+0123456789"),
)
