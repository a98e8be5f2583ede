"""Runs in turn, medians and ratios: the machines are noisy, so only what ran side by side is compared."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each run; one warm-up round, then `rounds` rounds of all runs one after the other."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            seconds = timed(run)
            if round_:
                times[name].append(seconds)
            print(f"round {round_} of {rounds}, {name}: {seconds:.3g} s", file=sys.stderr, flush=True)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def timed(run: Callable[[], object]) -> float:
    """Seconds of one run, to the end of its work on a GPU."""
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def arguments(about: str, rounds: int = 5, sizes: Sequence[str] = (), *, rows: int = 0) -> argparse.Namespace:
    """--json, --rounds and --threads, which all benchmarks have; --sizes and --rows where there are any.

    Values are defaults.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="timed rounds; medians are reported (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    if sizes:
        parser.add_argument("--sizes", nargs="+", choices=sizes, default=sizes, help="which (default: all)")
    if rows:
        parser.add_argument("--rows", type=int, default=rows, help="rows of the data set (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def show(numbers: Mapping[str, Any], as_json: bool) -> None:
    """Print numbers, one per line, or JSON."""
    if as_json:
        print(json.dumps(numbers, indent=2, ensure_ascii=False))
    else:
        for name, value in numbers.items():
            print(f"{name:60} {value:.4g}" if isinstance(value, float) else f"{name:60} {value}")
