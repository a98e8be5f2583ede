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
from torch import Tensor, nn

from d2it.counting import META, content_pass, example_maps, multiply_adds, parameters
from d2it.dvae.model import DynamicVAE
from d2it.errors import UserError
from d2it.memory import Memory, training_memory
from d2it.params.architecture import content_arguments, dvae_arguments, grain_arguments
from d2it.params.load import load_params
from d2it.params.sections import Params
from d2it.transformer.baseline import CHANNELS, CLASSES, GRID, plain_dit
from d2it.transformer.content import SIZES, DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
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


def content_inputs(model: DynamicContentTransformer, shares: list[float], images: int) -> dict[str, Any]:
    """Arguments of a content transformer's `forward`, all zero but the grain maps and their routes.

    Routes depend on values, so that they are planned here and not where nothing has values.
    """
    about = model.architecture
    grain_map = example_maps(shares, about["latent_grid"] // model.copies[0], images)
    zeros = dit_inputs(about["latent_channels"], about["latent_grid"], images)
    return zeros | {"grain_map": grain_map, "routes": model.route(grain_map)}


def dit_inputs(channels: int, side: int, images: int) -> dict[str, Tensor]:
    """Arguments of a DiT's `forward`, all zero."""
    t = torch.zeros(images, dtype=torch.int64)
    return {"z": torch.zeros(images, channels, side, side), "t": t, "labels": t}


def grain_inputs(side: int, images: int) -> dict[str, Tensor]:
    """Arguments of a grain transformer's `forward`, all zero."""
    zeros = dit_inputs(1, side, images)
    return {"noisy_map": zeros["z"], "t": zeros["t"], "labels": zeros["labels"]}


def of_params(params: Params, classes: int) -> list[Row]:
    """The models of a params file, at its ratio of grains; `classes` of the data."""
    size, precision = params.data.image_size, params.content_transformer.precision
    content, grain = content_arguments(params, classes), grain_arguments(params, classes)
    shares = params.grain.shares
    with META:
        dvae = DynamicVAE(**dvae_arguments(params) | {"regularizer": "kl"})  # VQ's codebook is no parameter
        images, latents = torch.empty(1, 3, size, size), torch.empty(1, dvae.latent_channels, *[params.latent_grid] * 2)
        rows = [
            _row("DVAE, encoder", dvae.encoder, multiply_adds(lambda: dvae.encoder(images)), images=params.dvae.images),
            _row(
                "DVAE, decoder", dvae.decoder, multiply_adds(lambda: dvae.decoder(latents)), images=params.dvae.images
            ),
        ]
        grain_model, content_model = DynamicGrainTransformer(**grain), DynamicContentTransformer(**content)
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
        images, z = torch.empty(1, 3, 256, 256), torch.empty(1, CHANNELS, GRID, GRID)
    return [
        _row("grain transformer (DiT-S)", grain, multiply_adds(lambda: grain(**grain_inputs(16, 1)))),
        _row("DVAE, encoder", dvae.encoder, multiply_adds(lambda: dvae.encoder(images))),
        _row("DVAE, decoder", dvae.decoder, multiply_adds(lambda: dvae.decoder(z))),
    ]


def _row(name: str, model: nn.Module, cost: int, memory: Memory | None = None, *, images: int = 0) -> Row:
    training = cost * TRAINING_FLOP * images / 1e18 if images else None
    size = parameters(model) / 1e6
    return Row(model=name, parameters=size, multiply_adds={"": cost / 1e9}, memory=memory, training=training)


def _memory(build: Callable[..., nn.Module], inputs: Callable[[int], Any], precision: str) -> Memory:
    def model(activation_checkpointing: bool) -> nn.Module:
        return build(activation_checkpointing=activation_checkpointing)

    return training_memory(model, inputs, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def _table(rows: list[Row], paper: bool) -> str:
    """As text."""
    ratios = [f"{ratio:g}" for ratio in RATIOS] if paper else [""]
    head = ["", "parameters, M"] + (["paper"] if paper else [])
    head += [f"G at {ratio}" if ratio else "multiply-adds, G" for ratio in ratios] + (["paper"] if paper else [])
    head += ["state, GB", "per image, MB", "checkpointed, MB"] + ([] if paper else ["training, EFLOP"])
    lines = []
    for row in rows:
        costs = [row.multiply_adds.get(ratio) for ratio in ratios]
        if paper and "" in row.multiply_adds:
            costs[2] = row.multiply_adds[""]  # in the middle: it does not depend on the ratio
        memory = [row.memory.state, row.memory.kept, row.memory.checkpointed] if row.memory else [None] * 3
        printed = [[row.paper_parameters], [row.paper_multiply_adds]] if paper else [[], []]
        training = [] if paper else [row.training]
        lines.append([row.model, row.parameters, *printed[0], *costs, *printed[1], *memory, *training])
    decimals = (
        [""] + [".2f"] * (len(head) - 4) + [".1f", ".0f", ".0f"]
        if paper
        else ["", ".2f", ".3f", ".1f", ".0f", ".0f", ".3g"]
    )
    return tabulate(lines, head, floatfmt=decimals, missingval="")


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
    print(as_json if chosen.json else _table(rows, chosen.paper))
    return 0


if __name__ == "__main__":
    sys.exit(main())
