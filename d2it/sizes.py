"""Sizes of all models beside the paper's: `python -m d2it.sizes [--json]`.

Parameters, multiply-adds of one image at 256 x 256 (latent 32 x 32 x 4) and memory of training, counted on tensors
without values, so that no weight is allocated. The paper's "FLOPs" are multiply-adds; its rows for patch 1 leave the
attention products out. At its peak, training holds a state (weights, their average, gradients, Adam's moments) and the
activations of each image of a micro-batch; these are counted in bfloat16 autocast, at fine ratio 0.5, without dropout.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from d2it.dvae.model import DVAEConfig, DynamicVAE
from d2it.params import DGT, Content, RefineNet
from d2it.transformer.backbone import DiT
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer
from d2it.transformer.memory import Memory, training_memory
from d2it.transformer.routing import plan_routes

FACTORS, GRID, REGIONS, CLASSES, WINDOW = [8, 16], 32, 16, 1000, 16
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
META = torch.device("meta")
TRAINING = {  # keys that a section needs and that shape no model
    "images": 1, "batch_size": 1, "micro_batch": 1, "warmup_images": 0, "cooldown_images": 0, "gradient_clip": 0.0,
    "precision": "float32", "log_images": 1, "checkpoint_images": 1, "learning_rate": 1e-4, "weight_decay": 0.0,
    "ema_decay": 0.0, "dropout": 0.0, "label_dropout": 0.0, "activation_checkpointing": False, "loss_weighting": "code",
    "position": "learnable",
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """A size of the content transformer (paper, tables 1 and 2)."""

    layers: int
    refinenet_layers: int
    width: int
    heads: int
    paper_parameters: float  # M
    paper_multiply_adds: float  # G, at fine ratio 0.5
    paper_dit: tuple[float, float, float]  # DiT of as many layers: M, G with patch 2, G with patch 1


SIZES = {
    "B": Size(10, 2, 768, 12, 136, 35.93, (130, 23.01, 87.07)),
    "L": Size(20, 4, 1024, 16, 467, 102.25, (458, 80.71, 309.51)),
    "XL": Size(22, 6, 1152, 16, 687, 145.60, (675, 118.64, 456.98)),
}


@dataclass(frozen=True)
class Row:
    """A line of the table: parameters in M, multiply-adds an image in G, by fine ratio where there is one."""

    model: str
    parameters: float
    multiply_adds: dict[str, float]
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None
    memory: Memory | None = None


def content_params(layers: int, width: int, heads: int, checkpointing: bool) -> Content:
    """A section `content`, of which only the keys that shape the model matter here."""
    shape = {"layers": layers, "width": width, "heads": heads, "activation_checkpointing": checkpointing}
    return Content.model_validate(TRAINING | shape)


def content_transformer(size: Size, checkpointing: bool = False) -> DynamicContentTransformer:
    """D²iT at 256 x 256, class-conditional as on ImageNet."""
    refinenet = RefineNet(layers=size.refinenet_layers, window=WINDOW, tokens="fine")
    config = content_params(size.layers, size.width, size.heads, checkpointing)
    return DynamicContentTransformer(config, refinenet, FACTORS, GRID, 4, CLASSES)


def dit(size: Size, patch: int, checkpointing: bool = False) -> DiT:
    """Plain DiT with as many layers, from our backbone alone."""
    config = content_params(size.layers + size.refinenet_layers, size.width, size.heads, checkpointing)
    return DiT(config, GRID, patch, 4, 8, CLASSES)


def dit_inputs(images: int) -> tuple[Tensor, Tensor, Tensor]:
    """z, t and labels, all zero."""
    t = torch.zeros(images, dtype=torch.int64)
    return torch.zeros(images, 4, GRID, GRID), t, t


def content_inputs(images: int) -> tuple[Any, ...]:
    """The same, with grain maps at ratio 0.5 and their routes."""
    grain_map = map_of_ratio(0.5, images)
    return *dit_inputs(images), grain_map, plan_routes(grain_map, [GRID], [WINDOW], False)


def map_of_ratio(ratio: float, images: int = 1, seed: int = 0) -> Tensor:
    """Random grain maps (images, 16, 16) with exactly this share of fine regions each."""
    g = torch.Generator().manual_seed(seed)
    order = torch.rand(images, REGIONS**2, generator=g).argsort(1).argsort(1)
    return (order < round(ratio * REGIONS**2)).to(torch.uint8).view(images, REGIONS, REGIONS)


def parameters(model: nn.Module) -> float:
    """Trainable parameters, in M."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6


def multiply_adds(run: Callable[[], object]) -> float:
    """Of what `run` does on meta tensors, in G; PyTorch's counter counts two a multiply-add."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 2e9


def content_multiply_adds(model: DynamicContentTransformer, ratio: float) -> float:
    """Of one image with this fine ratio, in G."""
    grain_map = map_of_ratio(ratio)
    routes = [route.to(META) for route in model.route(grain_map)]
    z, t = torch.empty(1, 4, GRID, GRID, device=META), torch.empty(1, dtype=torch.int64, device=META)
    return multiply_adds(lambda: model(z, t, t, grain_map.to(META), routes))


def table() -> list[Row]:
    """All rows."""
    return [*map(content_row, SIZES), *(dit_row(name, patch) for name in SIZES for patch in (2, 1)), *other_rows()]


def content_row(name: str) -> Row:
    """D²iT of this size."""
    size = SIZES[name]
    with META:
        model = content_transformer(size)
    costs = {f"{ratio:g}": content_multiply_adds(model, ratio) for ratio in RATIOS}
    memory = training_memory(partial(content_transformer, size), content_inputs, torch.bfloat16)
    return Row(f"D²iT-{name}", parameters(model), costs, size.paper_parameters, size.paper_multiply_adds, memory)


def dit_row(name: str, patch: int) -> Row:
    """DiT of as many layers."""
    size = SIZES[name]
    with META:
        model = dit(size, patch)
        cost = multiply_adds(lambda: model(*dit_inputs(1)))
    memory = training_memory(partial(dit, size, patch), dit_inputs, torch.bfloat16)
    paper = dict(zip((2, 1), size.paper_dit[1:], strict=True))[patch]
    return Row(f"DiT-{name}/{patch}", parameters(model), {"": cost}, size.paper_dit[0], paper, memory)


def other_rows() -> list[Row]:
    """The grain transformer and the two halves of the DVAE."""
    shape = {"layers": 12, "width": 384, "heads": 6}
    config = DGT.model_validate({key: value for key, value in TRAINING.items() if key in DGT.model_fields} | shape)
    with META:
        grain = DynamicGrainTransformer(config, len(FACTORS), REGIONS, CLASSES)
        dvae = DynamicVAE(DVAEConfig(128, [1, 2, 4, 4], 2, 4, "kl", 1024, FACTORS))
        z, t, _ = dit_inputs(1)
        runs: dict[str, tuple[nn.Module, Callable[[], object]]] = {
            "grain transformer (DiT-S)": (grain, lambda: grain(torch.empty(1, 1, REGIONS, REGIONS), t, t)),
            "DVAE, encoder": (dvae.encoder, lambda: dvae.encoder(torch.empty(1, 3, 256, 256))),
            "DVAE, decoder": (dvae.decoder, lambda: dvae.decoder(z)),
        }
        return [Row(name, parameters(model), {"": multiply_adds(run)}) for name, (model, run) in runs.items()]


def _cells(values: Iterable[float | None], width: int, decimals: int) -> str:
    return "".join(" " * width if x is None else f"{x:{width}.{decimals}f}" for x in values)


def _line(row: Row) -> str:
    single = row.multiply_adds.get("")  # where the ratio is of no account
    costs = [None, None, single, None, None] if single else [row.multiply_adds[f"{ratio:g}"] for ratio in RATIOS]
    paper = _cells([row.paper_parameters], 8, 2), _cells([row.paper_multiply_adds], 9, 2)
    memory = row.memory and _cells([row.memory.state], 8, 1) + _cells([row.memory.kept, row.memory.checkpointed], 9, 0)
    return f"{row.model:26}{row.parameters:8.2f}{paper[0]} {_cells(costs, 8, 2)}{paper[1]} {memory or ''}".rstrip()


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser("python -m d2it.sizes", description="Sizes of all models beside the paper's.")
    parser.add_argument("--json", action="store_true", help="a list of rows as JSON")
    as_json, rows = parser.parse_args().json, table()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    ratios = "".join(f"{ratio:8g}" for ratio in RATIOS)
    print(f"{'':26}{'parameters, M':17}{'multiply-adds an image, G, at fine ratio':50}{'memory of training':>26}")
    print(f"{'':26}{'ours':>8}{'paper':>8} {ratios}{'paper':>9} {'state':>8}{'an image':>9}{'checkp.':>9}")
    print(f"{'':92} {'GB':>8}{'MB':>9}{'MB':>9}")
    for row in rows:
        print(_line(row))


if __name__ == "__main__":
    main()
