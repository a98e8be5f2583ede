"""The whole pipeline, cut down: in a repository of its own, or stage by stage in this process."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from d2it.params.load import check_params
from d2it.params.sections import Params
from d2it.ranks.ranks import Ranks
from d2it.yaml import read_yaml
from stages.entry import write_metrics
from stages.stage import NAMES, Stage
from tools.deps import ROOT

SMALLEST: dict[str, dict[str, Any]] = {
    "data": {"source": "skimage", "image_size": 32, "train_crops": 48, "validation_crops": 8},
    "dvae": {"images": 32, "batch_size": 8, "warmup_images": 8, "cooldown_images": 8,
             "log_images": 8, "checkpoint_images": 16, "channels": 8, "multipliers": [1, 2, 2],
             "patch": 2, "codebook_size": 16, "adversarial_weight": 0.05,
             "adversarial_start": 16, "adversarial_warmup": 8, "discriminator_channels": 8},
    "grain_transformer": {"images": 64, "batch_size": 16, "warmup_images": 16,
                          "cooldown_images": 0, "log_images": 16, "checkpoint_images": 32,
                          "layers": 1, "width": 16, "heads": 2},
    "content_transformer": {"images": 64, "batch_size": 16, "warmup_images": 16,
                            "cooldown_images": 0, "log_images": 16, "checkpoint_images": 32,
                            "layers": 2, "width": 32, "heads": 4, "dropout": 0.1},
    "micro_batch": {"dvae": 4, "grain_transformer": 8, "content_transformer": 8},
    "refinenet": {"layers": 1, "window": 2},
    "diffusion": {"objective": "epsilon"},
    "sample": {"images": 8, "batch_size": 4, "sampler": "ddpm", "steps": 4, "grain_steps": 4,
               "guidance": 1.5},
    "fid": {"batch_size": 4, "classifier_images": 32, "reference_images": 8},
}  # fmt: skip


def smallest_params() -> dict[str, Any]:
    """The demo's params with the smallest sizes that still use every part."""
    values: dict[str, Any] = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in SMALLEST.items():
        values[section] |= changes
    return values


def changed(changes: Mapping[str, Any]) -> Params:
    """The smallest params with changes, {'refinenet.window': 4}."""
    values = smallest_params()
    for key, value in changes.items():
        section, name = key.split(".")
        values[section][name] = value
    return check_params(values)


def run_stages(params: Params, folder: Path, names: Iterable[str] = NAMES) -> dict[str, Mapping[str, float]]:
    """Run stages in this process, into folder/outputs; returns their final numbers."""
    numbers = {}
    for name in names:
        stage = Stage(
            name=name, params=params, outputs=folder / "outputs", scratch=folder / "scratch" / name, weights=folder,
            device=torch.device("cpu"), ranks=Ranks(), report=lambda *_: None,
        )  # fmt: skip
        stage.out.mkdir(parents=True)
        numbers[name] = importlib.import_module(f"stages.{name}").main(stage)
        write_metrics(stage.out / "metrics.json", numbers[name])
    return numbers


def hand_over(one: Path, other: Path, names: Iterable[str]) -> None:
    """Put the outputs of some stages of folder `one` into folder `other`, instead of what is there."""
    (other / "outputs").mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.rmtree(other / "outputs" / name, ignore_errors=True)
        shutil.copytree(one / "outputs" / name, other / "outputs" / name)


class Repository:
    """A repository with the smallest params, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, folder: Path) -> "Repository":
        """A clone of this working tree with the smallest params, committed."""
        repository = cls(folder)
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, files):
            if (ROOT / name).is_file() and not name.startswith(("tests/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        YAML().dump(smallest_params(), folder / "params.yaml")
        repository.git("init", "-q")
        repository.commit()
        return repository

    def copy(self, folder: Path) -> "Repository":
        """All of it, DVC's cache and MLflow's store included, in a folder that is not there yet."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Repository(folder)

    def git(self, *arguments: str) -> str:
        """Run git as a user of its own."""
        user = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        return self.run(["git", *user, *arguments])

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "-A")
        self.git("commit", "-qm", "state")

    def dvc(self, *arguments: str) -> str:
        """Run dvc; its output, stdout and stderr together."""
        return self.run([sys.executable, "-m", "dvc", *arguments])

    def run(self, command: list[str]) -> str:
        """Run a command in the repository; its output, stdout and stderr together."""
        dropped = ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_ROOT", "D2IT_CLUSTER")
        env = {name: value for name, value in os.environ.items() if name not in dropped}
        # `python` in dvc.yaml is the interpreter of this test; one thread each, as in the tests themselves
        env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "OMP_NUM_THREADS": "1", "D2IT_CLUSTER": "local"}
        done = subprocess.run(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
        )
        assert done.returncode == 0, f"{' '.join(command)} in {self.folder}:\n{done.stdout}"
        return done.stdout
