"""`python -m d2it.cost [params.yaml]`: what a params file costs, before it is paid; `--paper`: the paper's sizes.

Parameters, multiply-adds of one pass over one image, memory of training, and the operations of every stage, all counted
on tensors without values. Hours follow from them at a rate that is assumed, or given, or measured here with `--probe`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from d2it.arguments import positive_float, positive_int
from d2it.cost.data_size import data_size
from d2it.cost.models import Row, of_params
from d2it.cost.paper import RATIOS, of_paper
from d2it.cost.rate import Rate, assumed, given
from d2it.cost.stages import StageCost, stage_costs
from d2it.errors import UserError
from d2it.params.load import load_params
from d2it.params.sections import Params

MEMORY = ("state, GB", "per image, MB", "checkpointed, MB")
LIKE = {"encode_latents": "train_dvae", "sample": "train_content", "fid": "train_dvae"}  # whose measured rate they have


def main(arguments: Sequence[str] | None = None) -> int:
    """Print tables, or JSON; 2 for a params file that cannot be used."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.paper:
            rows = of_paper()
            print(_json([asdict(row) for row in rows]) if chosen.json else _table_of_paper(rows))
            return 0
        return _of_params(load_params(chosen.params), chosen)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _of_params(params: Params, chosen: argparse.Namespace) -> int:
    data, origin = data_size(params.data, Path())
    if chosen.images:
        data, origin = data._replace(train=chosen.images[0], validation=chosen.images[1]), "as given"
    if chosen.classes is not None:
        data = data._replace(classes=chosen.classes)
    models, costs = of_params(params, data.classes), stage_costs(params, data)
    if not chosen.json:
        print(_table(models), end="\n\n", flush=True)
    rate = given(chosen.rate) if chosen.rate else assumed()
    measured = _probe(params, data.classes) if chosen.probe else {}
    hours = {cost.stage: _hours(cost, rate, measured) / chosen.gpus for cost in costs}
    if chosen.json:
        stages = [asdict(cost) | {"hours": hours[cost.stage], **measured.get(cost.stage, {})} for cost in costs]
        about = {"data": data._asdict(), "gpus": chosen.gpus} | ({} if measured else {"rate": asdict(rate)})
        print(_json(about | {"models": [asdict(row) for row in models], "stages": stages}))
        return 0
    print(_table_of_stages(costs, hours, measured))
    print(_about_hours(rate, bool(measured), chosen.gpus))
    print(f"Images: {data.train:,} for training, {data.validation:,} for validation, {data.classes} classes: {origin}.")
    return 0


def _probe(params: Params, classes: int) -> dict[str, dict[str, float]]:
    """Of each training: images per micro-batch, images and operations per second, measured here."""
    from d2it.cost.probe import STEPS, probe
    from d2it.device import pick_device

    device, measured = pick_device(), {}
    print(f"probe: {STEPS} steps of each training on {device}, after a warm-up ...", file=sys.stderr, flush=True)
    for one in probe(params, classes, device):
        print(f"probe: {one.stage}: {one.images_per_second:.1f} images/s", file=sys.stderr, flush=True)
        measured[one.stage] = {
            "micro_batch": one.micro_batch, "images_per_second": one.images_per_second, "flops": one.rate,
        }  # fmt: skip
    return measured


def _hours(cost: StageCost, rate: Rate, measured: Mapping[str, Mapping[str, float]]) -> float:
    """On one GPU, or on this machine."""
    if measured:
        return cost.operations / measured[LIKE.get(cost.stage, cost.stage)]["flops"] / 3600
    return rate.seconds(cost.bfloat16, cost.float32) / 3600


def _about_hours(rate: Rate, here: bool, gpus: int) -> str:
    """What they are counted from, and what they leave out."""
    if here:
        how = f"on {gpus} machines as this one" if gpus > 1 else "on this machine"
        how += ", at the rates of micro-batches measured here; stages that do not train, at the rate of one that does"
    else:
        on = f"{gpus} GPUs that share the work evenly" if gpus > 1 else "one GPU"
        reached = f"{rate.bfloat16 / 1e12:.0f} TFLOP/s in bfloat16 and {rate.float32 / 1e12:.0f} in float32"
        how = f"on {on}, at {reached}: {rate.origin}"
    return f"Hours {how}. Not in them: prepare, reading, exchange between GPUs, checkpoints."


def _table(rows: Sequence[Row]) -> str:
    """Models of a params file, as text."""
    head = ["", "parameters, M", "multiply-adds, G", *MEMORY]
    lines = [[row.model, row.parameters, row.multiply_adds[""], *_memory_cells(row)] for row in rows]
    return tabulate(lines, head, floatfmt=["", ".2f", ".3f", ".1f", ".0f", ".0f"], missingval="")


def _table_of_stages(
    costs: Sequence[StageCost], hours: Mapping[str, float], measured: Mapping[str, Mapping[str, float]]
) -> str:
    """As text, with what was measured beside the trainings."""
    head = ["", "images", "EFLOP", *(("micro-batch", "images/s", "TFLOP/s") if measured else ()), "hours"]
    lines: list[list[object]] = []
    for cost in costs:
        here = measured.get(cost.stage)
        reached = [here["micro_batch"], here["images_per_second"], here["flops"] / 1e12] if here else [None] * 3
        cells = [f"{cost.images:,}", _three(cost.operations / 1e18), *(reached if measured else [])]
        lines.append([cost.stage, *cells, _three(hours[cost.stage])])
    total = _three(sum(cost.operations for cost in costs) / 1e18), _three(sum(hours.values()))
    lines.append(["total", None, total[0], *([None] * 3 if measured else []), total[1]])
    formats = ["", "", "", *(["", ".1f", ".3g"] if measured else []), ""]
    right = ["left", *["right"] * (len(head) - 1)]
    texts = [1, 2, len(head) - 1]
    return tabulate(lines, head, floatfmt=formats, colalign=right, missingval="", disable_numparse=texts)


def _three(number: float) -> str:
    """Three digits, without an exponent where hours are meant to be read."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _table_of_paper(rows: Sequence[Row]) -> str:
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


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m d2it.cost", description="Cost of a params file before it is paid: its "
                                     "models, and operations and hours of every stage.")  # fmt: skip
    add = parser.add_argument
    add("params", nargs="?", type=Path, default=Path("params.yaml"), help="params file (params.yaml)")
    add("--rate", type=positive_float, nargs="+", metavar="TFLOPS", help="TFLOP/s that a GPU reaches: in bfloat16 and, "
        f"if another, in float32 ({assumed().origin})")  # fmt: skip
    add("--gpus", type=positive_int, default=1, help="GPUs that share the work (1)")
    add("--probe", action="store_true", help="train a few steps on this machine, and count hours from their rates")
    add("--images", type=positive_int, nargs=2, metavar=("TRAIN", "VALIDATION"), help="of the data set (those of "
        "data.source; ImageNet's where it is not at hand)")  # fmt: skip
    add("--classes", type=int, help="of the data set (likewise)")
    add("--paper", action="store_true", help="the paper's sizes instead, beside what it prints")
    add("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
