"""The real pipeline in a repository of its own, on a real SLURM: what the tests of faults share."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML

from d2it.yaml import read_yaml
from tests.slurm.cluster import Cluster
from tests.slurm.repository import LIMIT, wait_for
from tests.smallest import Repository

STAGE = "train_content"
# Long enough to be hit in the middle, on any machine, without being much work: each of the 120 steps waits.
TRAINING = {"images": 1920, "log_images": 320, "checkpoint_images": 160, "warmup_images": 16}
STEP = "            watchdog.step()\n"
STEP_SECONDS = 0.1
DEFAULTS = {"cpus_per_task": 1, "mem_gb": 2, "time": 10}
SBATCH = """#!/bin/sh
echo "$@" >> "$D2IT_SUBMITTED"
exec {sbatch} "$@"
"""


def prepare(finished: Repository, folder: Path) -> None:
    """Make a copy of a repository whose stages have run; its train_content has been a long one, undisturbed."""
    repository = finished.copy(folder)
    params = read_yaml((folder / "params.yaml").read_text())
    params["content_transformer"] |= TRAINING
    YAML().dump(params, folder / "params.yaml")
    loop = folder / "d2it" / "training" / "loop.py"
    before, step, after = loop.read_text().partition(STEP)
    assert step
    loop.write_text(f"import time\n{before}{step}            time.sleep({STEP_SECONDS})\n{after}")
    repository.dvc("commit", "-f", "train_dvae", "train_grain")  # they import it too, and their results stand
    repository.dvc("repro", STAGE)
    repository.commit()


class Workflow:
    """A copy of that repository, whose stages run on a SLURM cluster."""

    def __init__(self, folder: Path, prepared: Path, cluster: Cluster, resources: dict[str, dict[str, Any]]) -> None:
        """`resources`: what stages ask SLURM for beside the defaults, by stage."""
        self.folder, self.cluster = folder, cluster
        shutil.copytree(prepared, folder, ignore=shutil.ignore_patterns(".d2it"), symlinks=True)
        YAML().dump({"defaults": DEFAULTS, "stages": resources}, folder / "slurm" / "cluster.yaml")
        self.programs = folder.with_name(f"{folder.name}-programs")  # before SLURM's own on PATH
        self.programs.mkdir()
        (self.programs / "sbatch").write_text(SBATCH.format(sbatch=shutil.which("sbatch")))
        (self.programs / "sbatch").chmod(0o755)
        self._submitted = self.programs / "submitted"
        path = os.pathsep.join([str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {n: v for n, v in cluster.env.items() if not n.startswith(("D2IT_", "DVC_", "MLFLOW_"))}
        own = {"D2IT_CLUSTER": "slurm", "D2IT_SUBMITTED": str(self._submitted), "PATH": path, "OMP_NUM_THREADS": "1"}
        self.environment = kept | own

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        """dvc, in a session of its own as in a terminal; by default the forced run of train_content."""
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *(command or ("repro", "-f", "-s", STAGE))],
            cwd=self.folder, env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, *command: str, **environment: str) -> str:
        """The same from start to end, which must succeed; returns its output."""
        output, code = end(self.start(*command, **environment))
        assert code == 0, output
        return output

    def start_queue(self, jobs: int = 1) -> None:
        """dvc's workers, which live on and would hold a pipe open."""
        command = [sys.executable, "-m", "dvc", "queue", "start", "-j", str(jobs)]
        null = subprocess.DEVNULL
        subprocess.run(command, cwd=self.folder, env=self.environment, stdout=null, stderr=null, check=True)

    def weights(self) -> str:
        """sha256 of the content transformer's weights."""
        return hashlib.sha256((self.folder / "outputs" / STAGE / "weights.safetensors").read_bytes()).hexdigest()

    def curve(self) -> list[list[float]]:
        """The numbers of the loss curve."""
        lines = (self.folder / "outputs" / STAGE / "curve.csv").read_text().splitlines()[1:]
        return [[float(number) for number in line.split(",")] for line in lines]

    def submissions(self) -> int:
        """How often sbatch has been called."""
        return len(self._submitted.read_text().splitlines()) if self._submitted.exists() else 0

    def job(self) -> str:
        """Id of the one job in the queue."""
        (job,) = self.jobs()
        return job

    def jobs(self) -> list[str]:
        """Ids of this repository's jobs that are queued or run."""
        lines = self.cluster.run("squeue", "--noheader", "--format=%i|%Z").splitlines()
        return [job for job, folder in (line.split("|") for line in lines) if str(self.folder) in folder]

    def wait_for_state(self, job: str, state: str) -> None:
        """Until SLURM shows a job as PENDING, RUNNING, ..."""
        ask = ("squeue", "--noheader", f"--job={job}", "--format=%T")
        wait_for(lambda: state in self.cluster.run(*ask), 2 * LIMIT)

    def runs(self) -> list[Run]:
        """All that MLflow holds."""
        client = MlflowClient(f"sqlite:///{self.folder / '.d2it' / 'mlflow.db'}")
        return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))

    def logged_steps(self, run: Run) -> list[int]:
        """Steps of the loss curve in MLflow, in the order of their arrival."""
        client = MlflowClient(f"sqlite:///{self.folder / '.d2it' / 'mlflow.db'}")
        return [point.step for point in client.get_metric_history(run.info.run_id, "loss")]

    def checkpoints(self) -> list[Path]:
        """All there are, the oldest first."""
        return sorted(self.folder.glob(f".d2it/scratch/{STAGE}-*/step-*.safetensors"))

    def newest_step(self) -> int:
        """Of the newest checkpoint; 0 if there is none."""
        checkpoints = self.checkpoints()
        return int(checkpoints[-1].stem.partition("-")[2]) if checkpoints else 0

    def wait_for_training(self, beyond: int = 0) -> None:
        """Until there is a checkpoint of a later step."""
        wait_for(lambda: self.newest_step() > beyond, 2 * LIMIT)

    def ranks(self) -> list[int]:
        """Process ids of the job's ranks on all nodes, which are this machine, by rank."""
        pids = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes().split(b"\0")
                environment = dict(v.partition(b"=")[::2] for v in (path / "environ").read_bytes().split(b"\0"))
            except OSError:
                continue
            if b"slurm.worker" in command and str(self.folder).encode() in b" ".join(command):
                pids[int(environment.get(b"SLURM_PROCID", b"0"))] = int(path.name)
        return [pids[rank] for rank in sorted(pids)]

    def assert_nothing_is_left(self) -> None:
        """No job, no process, no entry of the ledger, no checkpoint."""
        wait_for(lambda: not self.jobs())
        wait_for(lambda: not self.ranks())
        assert list(self.folder.glob(".d2it/jobs/*")) == []
        assert self.checkpoints() == []
        assert list((self.folder / "outputs").glob(".*.part")) == []


def end(process: "subprocess.Popen[str]", limit: float = 4 * LIMIT) -> tuple[str, int]:
    """The output of a process until it ends, and its exit code; one that does not end is killed."""
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"still runs after {limit} s:\n{output}") from None
    return output, process.returncode
