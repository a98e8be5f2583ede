"""A repository whose experiments were never run: their outputs are written by hand and committed under DVC's refs."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

from ablations.plan import Experiment
from tests.imports import ROOT

COPIED = ("d2it", "stages", "slurm", "presets", "dvc.yaml", "params.yaml", ".dvc/config", ".dvcignore", ".gitignore")


class HandMade:
    """This repository's files in one commit, and experiments on top."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-qm", "state")

    def git(self, *arguments: str) -> str:
        """Run git as a user of its own."""
        command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout.strip()

    def add(self, experiment: Experiment, numbers: dict[str, float], name: str = "") -> None:
        """An experiment that is done: `numbers` as '<stage>.<name>', a curve, samples and grain maps."""
        outputs = self.folder / "outputs"
        stages: dict[str, dict[str, float]] = {}
        for key, value in numbers.items():
            stage, _, metric = key.partition(".")
            stages.setdefault(stage, {})[metric] = value
        for stage, metrics in stages.items():
            (outputs / stage).mkdir(parents=True, exist_ok=True)
            (outputs / stage / "metrics.json").write_text(json.dumps(metrics))
        for stage in ("train_content", "sample"):
            (outputs / stage).mkdir(parents=True, exist_ok=True)
        slope = 1 + experiment.seed + len(experiment.name)
        (outputs / "train_content" / "curve.csv").write_text(f"images,loss\n64,1.0\n128,{1 / slope:.4f}\n")
        g = np.random.default_rng(experiment.seed)
        np.savez(outputs / "sample" / "samples.npz", g.integers(0, 256, (8, 64, 64, 3), np.uint8), np.arange(8))
        np.save(outputs / "sample" / "grain_maps.npy", g.integers(0, 2, (8, 4, 4), np.uint8))
        head = self.git("rev-parse", "HEAD")
        self.git("add", "-f", "outputs")
        commit = self.git("commit-tree", self.git("write-tree"), "-p", head, "-m", "experiment")
        self.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name or experiment.name}", commit)
        self.git("rm", "-rqf", "--cached", "outputs")
        shutil.rmtree(outputs)
