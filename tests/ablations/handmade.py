"""A repository whose experiments were never run: the tests write their outputs into DVC's cache and refs."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from ablations.plan import Experiment
from pipeline.key import content_md5
from pipeline.packages import IN_A_JOB
from tools.deps import ROOT

COPIED = (
    *IN_A_JOB,
    "presets",
    "dvc.yaml",
    "params.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
)


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
        self._store(outputs)
        self.git("add", "dvc.lock")
        commit = self.git("commit-tree", self.git("write-tree"), "-p", head, "-m", "experiment")
        self.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name or experiment.name}", commit)
        self.git("rm", "-qf", "dvc.lock")
        shutil.rmtree(outputs)

    def _store(self, outputs: Path) -> None:
        """Put all outputs into DVC's cache, and into dvc.lock what they are."""
        stages: dict[str, Any] = {}
        for path in (path for path in outputs.rglob("*") if path.is_file()):
            md5 = content_md5(path)
            cached = self.folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
            cached.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, cached)
            out = {"path": str(path.relative_to(self.folder)), "hash": "md5", "md5": md5, "size": path.stat().st_size}
            stage = stages.setdefault(path.parent.name, {"cmd": f"python -m slurm {path.parent.name}", "outs": []})
            stage["outs"].append(out)
        (self.folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
