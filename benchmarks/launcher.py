"""What the launcher costs on a real SLURM: `python -m benchmarks.launcher [--json]`; needs slurm-wlm and munge.

Targets: from `dvc repro` to the job's first line at most 5 s more than from `sbatch` to the same; waiting takes less
than 1 % of a core; the controller is asked at most once in 5 s, here by two launchers that wait for one job.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.timing import arguments, show
from pipeline.packages import IN_A_JOB
from slurm.dev.cluster import DevCluster

ROOT = Path(__file__).parents[1]
WATCHED_SECONDS = 20.0
LIMIT_SECONDS = 120.0
CLUSTER = "defaults: {cpus_per_task: 1, mem_gb: 2, time: 10}\n"
SQUEUE = '#!/bin/sh\necho >> "$D2IT_ASKED"\nexec {squeue} "$@"\n'


def repository(folder: Path, crops: int) -> Path:
    """A copy of this one whose first stage cuts so many crops."""
    for name in (*IN_A_JOB, ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    text = (folder / "params.yaml").read_text().replace("source: twemoji", "source: skimage")
    text = text.replace("train_crops: 4096", f"train_crops: {crops}")
    (folder / "params.yaml").write_text(text)
    (folder / "slurm" / "cluster.yaml").write_text(CLUSTER)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def first_line_by_sbatch(folder: Path, environment: dict[str, str]) -> float:
    """Seconds from sbatch to the first line of a job that starts Python with srun."""
    log = folder / f"log-{time.monotonic_ns()}"
    script = f"srun {sys.executable} -u -c 'print(1)'"
    began = time.perf_counter()
    command = ["sbatch", f"--output={log}", f"--chdir={folder}", "--mem=100", f"--wrap={script}"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    while not (log.exists() and log.stat().st_size) and time.perf_counter() - began < LIMIT_SECONDS:
        time.sleep(0.01)
    return time.perf_counter() - began


def first_line_by_dvc(folder: Path, environment: dict[str, str]) -> float:
    """Seconds from `dvc repro` to the job's first line, as it is shown."""
    began, seconds = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "dvc", "repro", "-f", "prepare"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as dvc:
        assert dvc.stdout is not None
        for line in dvc.stdout:
            if line.startswith("prepare: begins") and not seconds:
                seconds = time.perf_counter() - began
    return seconds


def waiting(folder: Path, environment: dict[str, str], asked: Path) -> tuple[float, float]:
    """Share of a core that a launcher takes while it waits, and the controller's questions in 5 s of two launchers."""
    command = [sys.executable, "-m", "slurm", "prepare"]
    launchers = []
    for _ in range(2):
        launchers.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True))
        line = launchers[-1].stdout
        assert line is not None
        line.readline()
    process = psutil.Process(launchers[0].pid)
    before, questions, began = process.cpu_times(), count(asked), time.perf_counter()
    time.sleep(WATCHED_SECONDS)
    after, seconds = process.cpu_times(), time.perf_counter() - began
    own = (after.user - before.user) + (after.system - before.system)
    children = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    share, questions_in_5_s = (own + children) / seconds, 5 * (count(asked) - questions) / seconds
    for launcher in launchers:
        launcher.terminate()
    for launcher in launchers:
        launcher.communicate(timeout=LIMIT_SECONDS)
    return share, questions_in_5_s


def count(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text().splitlines()) if path.exists() else 0


def main() -> None:
    """Start a cluster, measure, end it."""
    options = arguments("What the launcher costs on a real SLURM.")
    folder = Path(tempfile.mkdtemp(prefix="d2it-launcher-"))
    (folder / "programs").mkdir()
    (folder / "programs" / "squeue").write_text(SQUEUE.format(squeue=shutil.which("squeue")))
    (folder / "programs" / "squeue").chmod(0o755)
    cluster = DevCluster(folder / "cluster")
    cluster.up([])
    try:
        path = os.pathsep.join([str(folder / "programs"), str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"D2IT_CLUSTER": "slurm", "D2IT_ASKED": str(folder / "asked"), "PATH": path}
        environment = cluster.environment | own
        (folder / "short").mkdir()
        (folder / "long").mkdir()
        short = repository(folder / "short", crops=64)
        by_sbatch, by_dvc = [], []
        for _ in range(options.rounds):
            by_sbatch.append(first_line_by_sbatch(folder, environment))
            by_dvc.append(first_line_by_dvc(short, environment))
        share, questions = waiting(repository(folder / "long", crops=400_000), environment, folder / "asked")
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)
    numbers = {
        "sbatch to first line, s": statistics.median(by_sbatch),
        "dvc repro to first line, s": statistics.median(by_dvc),
        "difference, s (target <= 5)": statistics.median(by_dvc) - statistics.median(by_sbatch),
        "waiting, % of a core (target < 1)": 100 * share,
        "two launchers' questions to the controller in 5 s (target <= 1)": questions,
    }
    show(numbers, options.json)


if __name__ == "__main__":
    main()
