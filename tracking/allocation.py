"""Where a stage runs and what it holds there, from the environment that SLURM or the launcher sets."""

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The resources of this process's job. GPUs and cores are those that it keeps from others, used or not."""

    host: str
    nodes: str  # SLURM's list of nodes; the host elsewhere
    ranks: int
    gpus: int
    gpus_on_node: int  # of this process
    cores: int
    job: dict[str, str]  # tags that identify the job

    @classmethod
    def current(cls) -> "Allocation":
        """Of this process."""
        host, job_id = os.uname().nodename, os.environ.get("SLURM_JOB_ID", "")
        visible = _visible_gpus()
        if job_id:
            ranks, nodes = _number("SLURM_NTASKS"), _number("SLURM_JOB_NUM_NODES")
            gpus_on_node = _number("SLURM_GPUS_ON_NODE", visible)
            return cls(
                host=host, nodes=os.environ.get("SLURM_JOB_NODELIST", host), ranks=ranks, gpus=gpus_on_node * nodes,
                gpus_on_node=gpus_on_node, cores=ranks * _number("SLURM_CPUS_PER_TASK"),
                job={"slurm.job_id": job_id, "slurm.restarts": os.environ.get("SLURM_RESTART_COUNT", "0")},
            )  # fmt: skip
        ranks = _number("SUBMITIT_LOCAL_NTASKS")
        gpus = min(ranks, visible)  # without a scheduler, what no rank uses is not held
        local = os.environ.get("SUBMITIT_LOCAL_JOB_ID")
        job = {"local.job_id": local} if local else {}
        return cls(host=host, nodes=host, ranks=ranks, gpus=gpus, gpus_on_node=gpus, cores=ranks * _threads(), job=job)

    def record(self) -> dict[str, object]:
        """What the journal records when a stage starts."""
        tags = {"job.host": self.host, "job.nodes": self.nodes, "job.ranks": str(self.ranks)}
        tags |= {"job.gpus": str(self.gpus), "job.cores": str(self.cores)}
        return {"host": self.host, "gpus": self.gpus, "cores": self.cores, "tags": tags | self.job}


def _number(name: str, default: int = 1) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def _visible_gpus() -> int:
    torch = sys.modules.get("torch")  # a process that has not imported it uses no GPU
    return torch.cuda.device_count() if torch else 0


def _threads() -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else 1
