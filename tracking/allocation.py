"""Where a stage runs and what it holds there: known from SLURM's environment, or from the launcher's."""

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """The job of this process. GPUs and cores are those that it keeps from others, used or not."""

    host: str
    nodes: str  # SLURM's list of nodes; the host elsewhere
    ranks: int
    gpus: int
    gpus_here: int  # of this process's node
    cores: int
    job: dict[str, str]  # tags by which the job is found again

    @classmethod
    def here(cls) -> "Placement":
        """Of this process."""
        host, job_id = os.uname().nodename, os.environ.get("SLURM_JOB_ID", "")
        visible = _visible_gpus()
        if job_id:
            ranks, nodes = _number("SLURM_NTASKS"), _number("SLURM_JOB_NUM_NODES")
            gpus_here = _number("SLURM_GPUS_ON_NODE", visible)
            restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
            return cls(
                host, os.environ.get("SLURM_JOB_NODELIST", host), ranks, gpus_here * nodes, gpus_here,
                ranks * _number("SLURM_CPUS_PER_TASK"), {"slurm.job_id": job_id, "slurm.restarts": restarts},
            )  # fmt: skip
        ranks = _number("SUBMITIT_LOCAL_NTASKS")
        gpus = min(ranks, visible)  # a machine of one's own: what no rank uses is not held
        local = os.environ.get("SUBMITIT_LOCAL_JOB_ID")
        return cls(host, host, ranks, gpus, gpus, ranks * _threads(), {"local.job_id": local} if local else {})

    def record(self) -> dict[str, object]:
        """As the journal's record of a start."""
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
