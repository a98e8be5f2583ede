"""What passes before a stage works: `python -m benchmarks.start [--json]`.

Targets: from `dvc repro` to the first step of a training in this process (`D2IT_CLUSTER=inline`) at most 4 s, and a
`dvc repro` with nothing to do at most 3 s. Beside them, what of it others take: in processes of their own, in turn.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import arguments, show
from d2it.yaml import read_yaml
from pipeline.packages import IN_A_JOB

ROOT = Path(__file__).parents[1]
LIMIT_SECONDS = 300.0
IMPORTS = ("torch", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "dvc.repo")
STEP = 8  # images


def repository(folder: Path) -> None:
    """A copy of this one whose autoencoder's training is one step on a few crops, of which its first line tells."""
    for name in (*IN_A_JOB, ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    values = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["data"] |= {"source": "skimage", "train_crops": 64, "validation_crops": 8}
    values["dvae"] |= {
        "images": STEP, "batch_size": STEP, "log_images": STEP, "checkpoint_images": STEP,
        "warmup_images": 0, "cooldown_images": 0, "adversarial_start": STEP,
    }  # fmt: skip
    (folder / "params.yaml").write_text(json.dumps(values), encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def seconds_to(line: str, command: list[str], folder: Path) -> float:
    """From the command to the first line that begins so, or to its end where `line` is empty."""
    began, seconds = time.perf_counter(), 0.0
    environment = os.environ | {"D2IT_CLUSTER": "inline", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        printed = ""
        for one in process.stdout:
            printed += one
            if line and one.startswith(line) and not seconds:
                seconds = time.perf_counter() - began
        process.wait(LIMIT_SECONDS)
    if process.returncode or (line and not seconds):
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{printed}")
    return seconds or time.perf_counter() - began


def main() -> None:
    """Measure all in turn."""
    options = arguments("What passes before a stage works.", rounds=3)
    folder = Path(tempfile.mkdtemp(prefix="d2it-start-"))
    dvc = [sys.executable, "-m", "dvc", "repro"]
    runs: dict[str, Callable[[], float]] = {
        "dvc repro to the first step, s (target <= 4)": lambda: seconds_to(
            f"train_dvae: {STEP}/{STEP} ", [*dvc, "--force", "--single-item", "train_dvae"], folder
        ),
        "dvc repro with nothing to do, s (target <= 3)": lambda: seconds_to("", [*dvc, "prepare"], folder),
    }
    for name in IMPORTS:
        runs[f"import {name}, s"] = lambda name=name: seconds_to(  # type: ignore[misc]
            "", [sys.executable, "-c", f"import {name}"], folder
        )
    try:
        repository(folder)
        seconds_to("", [*dvc, "prepare"], folder)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                times[name].append(run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show({name: statistics.median(seconds) for name, seconds in times.items()}, options.json)


if __name__ == "__main__":
    main()
