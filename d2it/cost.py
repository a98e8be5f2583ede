"""What models cost: `python -m d2it.cost [params.yaml]`, or `--paper` for all sizes beside the paper's.

Parameters, multiply-adds of one pass over one image, and memory of training, counted on tensors without values. At its
peak, training holds a state (weights, their average, gradients, Adam's moments) and the activations of each image of a
micro-batch; these are counted without dropout. Of the DVAE's training LPIPS and the discriminator are not counted.
The paper's rows for patch 1 leave the attention products out.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tabulate import tabulate
from torch import nn

from d2it.counting import META, content_pass, multiply_adds, parameters
from d2it.dvae.model import DynamicVAE
from d2it.errors import UserError
from d2it.memory import Memory, content_inputs, dit_inputs, grain_inputs, training_memory
from d2it.params.architecture import content_arguments, dvae_arguments, grain_arguments
from d2it.params.load import load_params
from d2it.params.sections import Params
from d2it.transformer.baseline import CHANNELS, CLASSES, GRID, plain_dit
from d2it.transformer.content import SIZES, DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
MEMORY = ("state, GB", "per image, MB", "checkpointed, MB")
TRAINING_FLOP = 6  # per multiply-add of a forward pass: 2, and twice as many for the backward pass


class Printed(NamedTuple):
    """What the paper prints of a size (tables 1 and 2); multiply-adds in G."""

    parameters: float  # M
    multiply_adds: float
    dit_parameters: float  # of DiT with as many layers
    dit_2: float  # its multiply-adds with patch 2
    dit_1: float


PAPER = {
    "B": Printed(136, 35.93, 130, 23.01, 87.07),
    "L": Printed(467, 102.25, 458, 80.71, 309.51),
    "XL": Printed(687, 145.60, 675, 118.64, 456.98),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model."""

    model: str
    parameters: float  # M
    multiply_adds: dict[str, float]  # G, by fine ratio; by '' where there is none
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None
    memory: Memory | None = None
    training: float | None = None  # EFLOP, forward and backward over all images of a params file


def of_params(params: Params, classes: int) -> list[Row]:
    """The models of a params file, at its ratio of grains; `classes` of the data."""
    content, grain = content_arguments(params, classes), grain_arguments(params, classes)
    shares, precision = params.grain.shares, params.content_transformer.precision
    with META:
        dvae = DynamicVAE(**dvae_arguments(params) | {"regularizer": "kl"})  # VQ's codebook is no parameter
        grain_model, content_model = DynamicGrainTransformer(**grain), DynamicContentTransformer(**content)
    rows = _dvae_rows(dvae, params.data.image_size, params.dvae.images)
    inputs = partial(grain_inputs, params.region_grid)
    memory = _memory(partial(DynamicGrainTransformer, **grain), inputs, params.grain_transformer.precision)
    cost = multiply_adds(lambda: grain_model(**inputs(1)))
    rows.append(_row("grain transformer", grain_model, cost, memory, images=params.grain_transformer.images))
    memory = _memory(
        partial(DynamicContentTransformer, **content), partial(content_inputs, content_model, shares), precision
    )
    cost, seen = multiply_adds(lambda: content_pass(content_model, shares)), params.content_transformer.images
    return [*rows, _row("content transformer", content_model, cost, memory, images=seen)]


def of_paper() -> list[Row]:
    """D²iT and DiT at the paper's sizes, 256 x 256 on ImageNet, in bfloat16 and at fine ratio 0.5 where memory goes."""
    return [*map(_d2it_row, PAPER), *(_dit_row(size, patch) for size in PAPER for patch in (2, 1)), *_other_rows()]


def _d2it_row(size: str) -> Row:
    build = partial(DynamicContentTransformer, **SIZES[size])
    with META:
        model = build()
    costs = {f"{r:g}": multiply_adds(partial(content_pass, model, [1 - r, r])) / 1e9 for r in RATIOS}
    memory = _memory(build, partial(content_inputs, model, [0.5, 0.5]), "bfloat16")
    paper = PAPER[size]
    return Row(
        model=f"D²iT-{size}", parameters=parameters(model) / 1e6, multiply_adds=costs, memory=memory,
        paper_parameters=paper.parameters, paper_multiply_adds=paper.multiply_adds,
    )  # fmt: skip


def _dit_row(size: str, patch: int) -> Row:
    inputs, paper = partial(dit_inputs, CHANNELS, GRID), PAPER[size]
    with META:
        model = plain_dit(size, patch)
    cost = multiply_adds(lambda: model(**inputs(1))) / 1e9
    memory = _memory(partial(plain_dit, size, patch), inputs, "bfloat16")
    return Row(
        model=f"DiT-{size}/{patch}", parameters=parameters(model) / 1e6, multiply_adds={"": cost}, memory=memory,
        paper_parameters=paper.dit_parameters, paper_multiply_adds=paper.dit_2 if patch == 2 else paper.dit_1,
    )  # fmt: skip


def _other_rows() -> list[Row]:
    with META:
        grain, dvae = DynamicGrainTransformer(), DynamicVAE()
    cost = multiply_adds(lambda: grain(**grain_inputs(16, 1)))
    return [_row("grain transformer (DiT-S)", grain, cost), *_dvae_rows(dvae, 256)]


def _dvae_rows(dvae: DynamicVAE, size: int, images: int = 0) -> list[Row]:
    side = size // dvae.factors[0]
    pixels, latents = torch.empty(1, 3, size, size), torch.empty(1, dvae.latent_channels, side, side)
    halves = (("encoder", dvae.encoder, pixels), ("decoder", dvae.decoder, latents))
    return [
        _row(f"DVAE, {name}", half, multiply_adds(partial(half, given.to(META))), images=images)
        for name, half, given in halves
    ]


def _row(name: str, model: nn.Module, cost: int, memory: Memory | None = None, *, images: int = 0) -> Row:
    training = cost * TRAINING_FLOP * images / 1e18 if images else None
    size = parameters(model) / 1e6
    return Row(model=name, parameters=size, multiply_adds={"": cost / 1e9}, memory=memory, training=training)


def _memory(build: Callable[..., nn.Module], inputs: Callable[[int], Any], precision: str) -> Memory:
    def model(activation_checkpointing: bool) -> nn.Module:
        return build(activation_checkpointing=activation_checkpointing)

    return training_memory(model, inputs, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def _table(rows: list[Row]) -> str:
    """Of a params file, as text."""
    head = ["", "parameters, M", "multiply-adds, G", *MEMORY, "training, EFLOP"]
    lines = [[row.model, row.parameters, row.multiply_adds[""], *_memory_cells(row), row.training] for row in rows]
    return tabulate(lines, head, floatfmt=["", ".2f", ".3f", ".1f", ".0f", ".0f", ".3g"], missingval="")


def _table_of_paper(rows: list[Row]) -> str:
    """Beside what the paper prints, as text; a cost that does not depend on the fine ratio stands in the middle."""
    ratios = [f"{ratio:g}" for ratio in RATIOS]
    head = ["", "parameters, M", "paper", *(f"G at {ratio}" for ratio in ratios), "paper", *MEMORY]
    lines = []
    for row in rows:
        costs = [
            row.multiply_adds.get(ratio, row.multiply_adds.get("") if ratio == "0.5" else None) for ratio in ratios
        ]
        paper = row.paper_parameters, row.paper_multiply_adds
        lines.append([row.model, row.parameters, paper[0], *costs, paper[1], *_memory_cells(row)])
    return tabulate(lines, head, floatfmt=["", *[".2f"] * 8, ".1f", ".0f", ".0f"], missingval="")


def _memory_cells(row: Row) -> list[float | None]:
    return [row.memory.state, row.memory.kept, row.memory.checkpointed] if row.memory else [None] * 3


def main() -> int:
    """Print the table, or JSON; 2 for a params file that cannot be used."""
    parser = argparse.ArgumentParser("python -m d2it.cost", description="Cost of the models of a params file: one pass "
                                     "over one image, and the memory of training.")  # fmt: skip
    parser.add_argument("params", nargs="?", type=Path, default=Path("params.yaml"), help="params file (params.yaml)")
    parser.add_argument("--classes", type=int, default=CLASSES, help=f"classes of the data ({CLASSES})")
    parser.add_argument("--paper", action="store_true", help="the paper's sizes instead, beside what it prints")
    parser.add_argument("--json", action="store_true", help="a list of rows as JSON")
    chosen = parser.parse_args()
    try:
        rows = of_paper() if chosen.paper else of_params(load_params(chosen.params), chosen.classes)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    as_json = json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)
    print(as_json if chosen.json else _table_of_paper(rows) if chosen.paper else _table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
