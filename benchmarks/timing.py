"""Runs in turn, medians and ratios: the machines are noisy, so only what ran side by side is compared."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each run; one warm-up round, then `rounds` rounds of all runs one after the other."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def arguments(about: str) -> argparse.Namespace:
    """--json, --rounds and --threads, which all benchmarks have."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; medians are reported (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    return found


def show(found: dict[str, Any], as_json: bool) -> None:
    """Print numbers, one a line, or JSON."""
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:55} {value:.4g}" if isinstance(value, float) else f"{name:55} {value}")
