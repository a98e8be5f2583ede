"""The paper's tables as data: what each setting changes in a preset, and the number that the paper prints for it.

Sections and values: "D²iT", arXiv 2504.09454. Where the paper prints no number (figures 5 and 6) there is None. The
demo has settings of its own where the paper's do not fit its size or time: two cores, two seeds, 45 minutes per table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from d2it.params.sections import Params

Value = str | int | float | bool
Change = Mapping[str, Value | Callable[[Params], Value]]  # 'section.key' -> value, or what it is in this preset
Shape = Literal["falls", "best in between"]


@dataclass(frozen=True)
class Metric:
    """A number that experiments are compared by."""

    name: str
    key: str  # '<stage>.<name>' of outputs/<stage>/metrics.json
    stand_in: str = ""  # likewise where the extractor has random weights, as in the demo
    lower_is_better: bool | None = True  # None: a property, not a merit
    shape: Shape | None = None  # what the paper's figure says of it along x
    unit: float = 1.0  # that the table counts it in: 1e6 where metrics.json holds a count and the table millions


@dataclass(frozen=True)
class Setting:
    """A row."""

    label: str  # may name params, as in '{content_transformer.layers}+{refinenet.layers}'
    change: Change = field(default_factory=dict)
    paper: tuple[float | None, ...] = ()  # one per metric; None for those that are left out
    preset: str = ""  # instead of the table's
    x: float | None = None  # its place in a figure
    series: str = ""  # its line in a figure


@dataclass(frozen=True)
class Table:
    """A table or a figure."""

    name: str
    title: str
    source: str  # where in the paper, with which model, on which data
    preset: str
    metrics: tuple[Metric, ...]
    settings: tuple[Setting, ...]
    demo: tuple[Setting, ...] = ()  # instead of `settings` in the demo
    x_axis: str = ""
    notes: tuple[str, ...] = ()  # Markdown
    seeds: int = 3

    def settings_of(self, preset: str) -> tuple[Setting, ...]:
        """The rows with this preset."""
        return self.demo if preset == DEMO and self.demo else self.settings


DEMO = "demo"
FID_10K = Metric("FID-10K", "fid.fid", "fid.random_frechet_distance")
FID_50K = Metric("FID-50K", "fid.fid", "fid.random_frechet_distance")
RFID_10K = Metric("rFID-10K", "fid.rfid", "fid.random_reconstruction_frechet_distance")
PSNR = Metric("PSNR of reconstructions, dB", "train_dvae.psnr", lower_is_better=False)
PARAMETERS = Metric("parameters, M", "train_content.parameters", lower_is_better=None, unit=1e6)


def all_layers(base: Params) -> int:
    """Blocks of backbone and RefineNet together: a backbone of as many layers stands for both."""
    return base.content_transformer.layers + base.refinenet.layers


def depth(backbone: int, refinenet: int) -> Change:
    """So many layers more or fewer than the preset's, 10 + 2 in D²iT-B."""
    return {
        "content_transformer.layers": lambda base: base.content_transformer.layers + backbone,
        "refinenet.layers": lambda base: base.refinenet.layers + refinenet,
    }


WITHOUT_REFINENET: Change = {"refinenet.layers": 0, "content_transformer.layers": all_layers}
# All regions fine: one code every 8 x 8 pixels, patches of 2 x 2 codes, DiT's own head. That is DiT on a plain VAE.
PLAIN_DIT: Change = {**WITHOUT_REFINENET, "grain.fine_ratio": 1.0}
HALF_OF_DEMO: Change = {
    "dvae.images": 9200, "dvae.cooldown_images": 5000, "dvae.adversarial_start": 8400, "dvae.adversarial_warmup": 800,
    "grain_transformer.images": 9280, "content_transformer.images": 13120,
}  # fmt: skip


def _grain_source(random: float, real: float, transformer: float) -> tuple[Setting, ...]:
    return (
        Setting("random", {"sample.grain_source": "random"}, (random,)),
        Setting("from real images", {"sample.grain_source": "real"}, (real,)),
        Setting("grain transformer", {"sample.grain_source": "transformer"}, (transformer,)),
    )


def _ratios(ratios: tuple[float, ...], also: Change | None = None) -> tuple[Setting, ...]:
    return tuple(Setting(f"r = {r:g}", {"grain.fine_ratio": r, **(also or {})}, x=r) for r in ratios)


def _convergence(sizes: tuple[str, ...], thousands: tuple[float, ...], batch: int, preset: str) -> tuple[Setting, ...]:
    """D²iT and DiT of each size after so many thousands of steps."""
    models: tuple[tuple[str, Change], ...] = (("D²iT", {}), ("DiT", PLAIN_DIT))
    return tuple(
        Setting(
            f"{model}{size and f'-{size}'}, {k:g}K steps",
            {**change, "content_transformer.images": round(k * 1000) * batch},
            preset=preset and f"{preset}_{size.lower()}", x=k, series=f"{model}{size and f'-{size}'}",
        )
        for size in sizes for model, change in models for k in thousands
    )  # fmt: skip


TABLES = (
    Table(
        "components", "Components", "ablation of the components, D²iT-B on FFHQ, 50 epochs", "ffhq_b", (FID_10K,),
        (
            Setting("DiT", PLAIN_DIT, (34.67,)),
            Setting(
                "+ DVAE and routing", {**WITHOUT_REFINENET, "content_transformer.loss_weighting": "position"}, (29.10,)
            ),
            Setting("+ dynamic grain loss", WITHOUT_REFINENET, (27.62,)),
            Setting("+ RefineNet and learnable positions", {}, (22.11,)),
        ),
        notes=("Our reading: DiT is the backbone alone, with as many layers as backbone and RefineNet together, on "
               "codes that are all fine.",),
    ),
    Table(
        "depth", "Depth of RefineNet", "layers of DiT + RefineNet, D²iT-B on FFHQ, 50 epochs", "ffhq_b", (FID_10K,),
        tuple(
            Setting("{content_transformer.layers}+{refinenet.layers}", depth(*change), (paper,))
            for change, paper in (((2, -2), 25.15), ((0, 0), 22.11), ((-2, 2), 26.53), ((2, 0), 20.99), ((2, 2), 19.96))
        ),
        notes=("The paper's 12+0 (25.15) is not its 'without RefineNet' of the windows (27.62). Ours are one model: "
               "0 layers of RefineNet are no RefineNet.",),
    ),
    Table(
        "window", "Window of RefineNet", "windows of RefineNet's attention, D²iT-B on FFHQ, 50 epochs", "ffhq_b",
        (FID_10K,),
        (
            Setting("without RefineNet", WITHOUT_REFINENET, (27.62,)),
            Setting("16", {"refinenet.window": 16}, (22.11,)),
            Setting("8", {"refinenet.window": 8}, (23.56,)),
            Setting("4", {"refinenet.window": 4}, (23.82,)),
            Setting("2", {"refinenet.window": 2}, (23.93,)),
        ),
        notes=("The paper's windows lie on 32 x 32 codes, so 16 is half of the image's side.",),
    ),
    Table(
        "regularizer", "Regulariser of the DVAE", "VQ (K = 1024) and KL, D²iT-B on FFHQ, 50 epochs", "ffhq_b",
        (FID_10K, RFID_10K, PSNR),
        (
            Setting("VQ", {"dvae.regularizer": "vq"}, (25.23, 2.38)),
            Setting("KL", {"dvae.regularizer": "kl"}, (22.11, 2.09)),
        ),
    ),
    Table(
        "grain_source", "Source of the grain map, FFHQ", "grain maps when sampling, D²iT-L on FFHQ", "ffhq_l",
        (FID_10K,), _grain_source(15.93, 4.35, 4.47),
    ),
    Table(
        "grain_source_imagenet", "Source of the grain map, ImageNet", "grain maps when sampling, D²iT-XL on ImageNet",
        "imagenet_xl", (FID_50K,), _grain_source(12.65, 1.70, 1.73),
    ),
    Table(
        "fine_ratio", "Fine ratio", "figure 5, D²iT-B on FFHQ", "ffhq_b",
        (
            Metric("FID-10K", "fid.fid", "fid.random_frechet_distance", shape="best in between"),
            Metric("rFID-10K", "fid.rfid", "fid.random_reconstruction_frechet_distance", shape="falls"),
            PSNR,
        ),
        _ratios((0.1, 0.3, 0.5, 0.7, 0.9)), demo=_ratios((0.1, 0.3, 0.5, 0.9), HALF_OF_DEMO), x_axis="fine ratio r",
        notes=("In the demo each model sees half of the demo's images, since nothing but the photos is shared.",),
    ),
    Table(
        "convergence", "Convergence", "figure 6, D²iT and DiT at B, L and XL on ImageNet", "imagenet_b", (FID_50K,),
        _convergence(("B", "L", "XL"), (100, 200, 300, 400), 256, "imagenet"),
        demo=_convergence(("",), (0.1, 0.2, 0.41), 64, ""), x_axis="training steps, thousands", seeds=1,
        notes=("Each point is trained from its start: the learning rate is constant, so a shorter training is the "
               "beginning of a longer one.",),
    ),
    Table(
        "sizes", "Sizes", "tables 1 and 2, D²iT at B, L and XL on ImageNet", "imagenet_b", (FID_50K, PARAMETERS),
        (
            Setting("D²iT-B", {}, (None, 136.0), "imagenet_b"),
            Setting("D²iT-L", {}, (None, 467.0), "imagenet_l"),
            Setting("D²iT-XL", {}, (1.73, 687.0), "imagenet_xl"),
        ),
        demo=(
            Setting("2 + 1 layers, width 64", {
                "content_transformer.layers": 2, "content_transformer.width": 64, "content_transformer.heads": 2,
                "refinenet.layers": 1,
            }),
            Setting("4 + 2 layers, width 128"),
            Setting("6 + 3 layers, width 128", {"content_transformer.layers": 6, "refinenet.layers": 3}),
        ),
        seeds=1,
        notes=("Multiply-adds: `python -m d2it.cost`.",),
    ),
)  # fmt: skip
NAMES = tuple(table.name for table in TABLES)
