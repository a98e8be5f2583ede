"""What the models cost at the paper's sizes, beside what the paper prints.

The paper's rows for patch 1 leave the attention products out.
"""

from functools import partial
from typing import NamedTuple

from d2it.cost.memory import content_inputs, dit_inputs, grain_inputs
from d2it.cost.models import Row, dvae_rows, memory_of, row
from d2it.counting import META, content_pass, multiply_adds, parameters
from d2it.dvae.model import DynamicVAE
from d2it.size import Size
from d2it.transformer.baseline import CHANNELS, GRID, plain_dit
from d2it.transformer.content import SIZES, DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)


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


def of_paper() -> list[Row]:
    """D²iT and DiT at the paper's sizes, 256 x 256 on ImageNet, in bfloat16 and at fine ratio 0.5 where memory goes."""
    return [*map(_d2it_row, PAPER), *(_dit_row(size, patch) for size in PAPER for patch in (2, 1)), *_other_rows()]


def _d2it_row(size: str) -> Row:
    build = partial(DynamicContentTransformer, **SIZES[size])
    with META:
        model = build()
    costs = {f"{r:g}": multiply_adds(partial(content_pass, model, [1 - r, r])) / 1e9 for r in RATIOS}
    memory = memory_of(build, partial(content_inputs, model, [0.5, 0.5]), "bfloat16")
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
    memory = memory_of(partial(plain_dit, size, patch), inputs, "bfloat16")
    return Row(
        model=f"DiT-{size}/{patch}", parameters=parameters(model) / 1e6, multiply_adds={"": cost}, memory=memory,
        paper_parameters=paper.dit_parameters, paper_multiply_adds=paper.dit_2 if patch == 2 else paper.dit_1,
    )  # fmt: skip


def _other_rows() -> list[Row]:
    with META:
        grain, dvae = DynamicGrainTransformer(), DynamicVAE()
    cost = multiply_adds(lambda: grain(**grain_inputs(grain.region_grid, 1)))
    return [row("grain transformer (DiT-S)", grain, cost), *dvae_rows(dvae, Size.of(256))]
