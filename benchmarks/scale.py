"""Predicted time of a training step on many GPUs: `python -m benchmarks.scale [--json]`. Counted, not measured.

Three things are counted for the content transformer at batch 256 and fine ratio 0.5: operations of a rank's images,
bytes that optimiser and average move, and bytes of gradients that a rank sends and receives. Rates are assumptions,
named below and in d2it/cost/rate.py; a rank with few images fills a card less, which is not in it. The exchange runs
beside the backward pass, two thirds of the operations; what does not fit beside it is waited for.
"""

import argparse
import json

import torch
from tabulate import tabulate

from d2it.cost.rate import TRAINING_FLOP, assumed
from d2it.counting import META, content_pass, multiply_adds, parameters
from d2it.transformer.content import SIZES, DynamicContentTransformer

BATCH, SHARES = 256, (0.5, 0.5)
MEMORY = 3.35e12  # B/s, an H100's
MOVED = 4 * (
    7 + 3 + 3
)  # bytes per parameter, float32: AdamW (4 read, 3 written), average (2, 1), norm and clipping (2, 1)
NODE = 8  # GPUs
INSIDE, PORT = 370e9, 45e9  # B/s that an exchange reaches: between GPUs of a node; by each of its 400 Gb/s ports
LATENCY = 20e-6  # s per step of a ring, launches included
RANKS = (1, 2, 4, 8, 16, 32, 64)


def exchange_seconds(size: int, ranks: int, ports: int) -> float:
    """All-reduce of float32 gradients by rings: each rank sends and receives 2 (n - 1) / n of them.

    Between nodes there is a ring for each port of a node, which share the gradients out.
    """
    if ranks == 1:
        return 0.0
    rate = INSIDE if ranks <= NODE else min(INSIDE, ports * PORT)
    return 4 * size * 2 * (ranks - 1) / ranks / rate + 2 * (ranks - 1) * LATENCY


def step(name: str, ranks: int, ports: int) -> dict[str, float]:
    """Milliseconds of a step and of its parts, and images per second."""
    with META:
        model = DynamicContentTransformer(**SIZES[name])
    size = parameters(model)
    operations = TRAINING_FLOP * multiply_adds(lambda: content_pass(model, SHARES)) * BATCH / ranks
    compute = operations / assumed().bfloat16
    memory, exchange = size * MOVED / MEMORY, exchange_seconds(size, ranks, ports)
    waited = max(0.0, exchange - compute * 2 / 3)
    seconds = compute + memory + waited
    parts = {"computing": compute, "optimiser": memory, "exchange": exchange, "waited for": waited, "step": seconds}
    return {part: 1000 * value for part, value in parts.items()} | {"images/s": BATCH / seconds}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description="Predicted time of a training step on many GPUs; counted.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--ports", type=int, default=NODE, help="network ports of a node (default %(default)s)")
    options = parser.parse_args()
    rows = []
    for name in ("B", "L", "XL"):
        alone = step(name, 1, 1)["images/s"]
        for ranks in RANKS:
            row = step(name, ranks, options.ports)
            rows.append({"size": name, "GPUs": ranks} | row | {"of linear": row["images/s"] / (ranks * alone)})
    head = ["", "GPUs", "computing, ms", "optimiser", "exchange", "waited for", "step, ms", "images/s", "of linear"]
    table = tabulate(
        [list(row.values()) for row in rows], head, floatfmt=("", "", *[".1f"] * 5, ".0f", ".2f"), tablefmt="github"
    )
    print(json.dumps(rows, indent=2) if options.json else table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
