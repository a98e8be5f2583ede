"""A stage on the development SLURM that faults befall: a copy of this repository with the smallest params."""

import csv
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import psutil

from d2it.files import write_text
from d2it.yaml import read_yaml
from pipeline.errors import StageError
from pipeline.packages import IN_A_JOB
from slurm.dev.cluster import DevCluster
from slurm.queue import Queued, parse_squeue
from slurm.states import OVER

STAGE = "train_content"
LIMIT = 900.0  # seconds for the stages before it
HANG_SECONDS = 20
RESOURCES = {"defaults": {"cpus_per_task": 1, "mem_gb": 2, "time": 30}, "stages": {STAGE: {"tasks_per_node": 2}}}
# The demo's params, cut down: seconds per stage, and a training of a minute with checkpoints all along.
SMALLEST = {
    "data": {"source": "skimage", "image_size": 32, "train_crops": 48, "validation_crops": 8},
    "dvae": {"images": 32, "batch_size": 8, "warmup_images": 8, "cooldown_images": 8, "log_images": 8,
             "checkpoint_images": 16, "adversarial_weight": 0.05, "adversarial_start": 16, "adversarial_warmup": 8,
             "discriminator_channels": 8},
    "content_transformer": {"images": 9600, "batch_size": 16, "warmup_images": 16,
                            "cooldown_images": 0, "log_images": 640, "checkpoint_images": 320,
                            "layers": 2, "width": 32, "heads": 4, "dropout": 0.1},
    "micro_batch": {"dvae": 4, "content_transformer": 4},
    "refinenet": {"layers": 1, "window": 2},
}  # fmt: skip


class Victim:
    """The workspace, the dvc that runs in it, and all that belongs to its job."""

    dvc: "subprocess.Popen[bytes]"

    def __init__(self, folder: Path, cluster: DevCluster) -> None:
        self.folder, self.cluster = folder, cluster
        kept = {n: v for n, v in cluster.environment.items() if not n.startswith(("D2IT_", "DVC_", "MLFLOW_"))}
        own = {"D2IT_CLUSTER": "slurm", "OMP_NUM_THREADS": "1", "D2IT_HANG_SECONDS": str(HANG_SECONDS)}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self.environment = kept | own | {"PATH": path}

    @classmethod
    def prepare(cls, folder: Path, root: Path, cluster: DevCluster) -> "Victim":
        """A new workspace in which all stages but the training have run, on this machine.

        Raises:
            StageError: that does not go well.
        """
        for package in IN_A_JOB:
            shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
            with suppress(FileNotFoundError):
                shutil.copyfile(root / name, folder / name)
        values = read_yaml((root / "presets" / "demo.yaml").read_text(encoding="utf-8"))
        for section, changes in SMALLEST.items():
            values[section] |= changes
        write_text(folder / "params.yaml", json.dumps(values))  # JSON is YAML
        write_text(folder / "slurm" / "cluster.yaml", json.dumps(RESOURCES))
        victim = cls(folder, cluster)
        user = ["-c", "user.name=soak", "-c", "user.email=soak@localhost"]
        for command in (
            ["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], ["git", "add", "-A"],
            ["git", *user, "commit", "-qm", "soak"], [sys.executable, "-m", "dvc", "repro", "-q", "encode_latents"],
        ):  # fmt: skip
            victim.run(command)
        return victim

    def run(self, command: list[str]) -> None:
        """Run a command on this machine.

        Raises:
            StageError: it fails; the message holds its last lines.
        """
        environment = self.environment | {"D2IT_CLUSTER": "local"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StageError(f"{' '.join(command[-3:])}: {' '.join(done.stdout.split()[-60:])}")

    def start(self) -> None:
        """Type the command."""
        rwlock = self.folder / ".dvc" / "tmp" / "rwlock"
        if rwlock.exists() and not rwlock.read_text().strip():
            rwlock.unlink()  # left empty by a dvc that was killed while it wrote: the one thing to be done by hand
        with (self.folder / "soak.log").open("ab") as log:
            self.dvc = subprocess.Popen(
                [sys.executable, "-m", "dvc", "repro", "-s", STAGE], cwd=self.folder, env=self.environment, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def forget(self) -> None:
        """The training has never run."""
        for path in (f"outputs/{STAGE}", ".d2it/delivered", ".dvc/cache/runs"):
            shutil.rmtree(self.folder / path, ignore_errors=True)
        for path in ("dvc.lock", ".d2it/mlflow.db"):
            (self.folder / path).unlink(missing_ok=True)

    def launchers(self) -> list[psutil.Process]:
        """Those that wait for the job."""
        return [one for one in self._processes("slurm", STAGE) if "slurm.worker" not in one.info["cmdline"]]

    def ranks(self) -> list[psutil.Process]:
        """The job's ranks, which run on this machine too, by rank."""
        ranks = {}
        for process in self._processes("slurm.worker"):
            with suppress(psutil.Error):
                ranks[int(process.environ().get("SLURM_PROCID", 0))] = process
        return [ranks[rank] for rank in sorted(ranks)]

    def _processes(self, *words: str) -> list[psutil.Process]:
        processes = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            command, cwd = process.info["cmdline"] or [], process.info["cwd"] or ""
            if all(word in command for word in words) and cwd.startswith(str(self.folder)):
                processes.append(process)
        return processes

    def jobs(self) -> dict[str, Queued]:
        """Its jobs in SLURM's queue that are not over."""
        text = self.cluster.run("squeue", "--noheader", "--states=all", "--format=%i|%T|%r|%N|%Z").stdout
        own = {job_id: job for job_id, job in parse_squeue(text).items() if job.folder.startswith(str(self.folder))}
        return {job_id: job for job_id, job in own.items() if job.state not in OVER}

    def to_job(self, *command: str) -> bool:
        """Run a command of SLURM on its job, if it has one."""
        codes = [self.cluster.run(*command, job).returncode for job in self.jobs()]
        return 0 in codes

    def checkpoints(self) -> list[Path]:
        """All there are, the oldest first."""
        return sorted(self.folder.glob(f".d2it/scratch/{STAGE}-*/step-*.safetensors"))

    def newest_step(self) -> int:
        """Of the newest checkpoint; 0 if there is none."""
        checkpoints = self.checkpoints()
        return int(checkpoints[-1].stem.partition("-")[2]) if checkpoints else 0

    def weights(self) -> str:
        """sha256 of the trained weights; empty if there are none."""
        path = self.folder / "outputs" / STAGE / "weights.safetensors"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

    def points(self) -> tuple[int, int]:
        """Points of the loss curve that MLflow lacks, and those that it has twice."""
        self.run([sys.executable, "-m", "tracking", "sync"])
        with (self.folder / "outputs" / STAGE / "curve.csv").open(encoding="utf-8") as file:
            wanted = {int(float(row["images"])) for row in csv.DictReader(file)}
        with closing(sqlite3.connect(self.folder / ".d2it" / "mlflow.db")) as store:
            steps = [row[0] for row in store.execute("SELECT step FROM metrics WHERE key = 'loss'")]
        return len(wanted - set(steps)), len(steps) - len(set(steps))
