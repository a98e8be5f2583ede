"""What befalls a stage on a cluster, each kind as a function of the stage that it befalls."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from slurm.soak.victim import Victim

AWAY_SECONDS = 5.0  # of a node or a controller that comes back


def kill_dvc(victim: Victim) -> bool:
    """Kill -9 of dvc, which the stage's launcher notices."""
    victim.dvc.kill()
    return True


def kill_launcher(victim: Victim) -> bool:
    """Kill -9 of the process that waits for the job."""
    return _kill(victim.launchers())


def lose_terminal(victim: Victim) -> bool:
    """SIGHUP to dvc and all that it has started."""
    os.killpg(victim.dvc.pid, signal.SIGHUP)
    return True


def interrupt(victim: Victim) -> bool:
    """Ctrl-C."""
    os.killpg(victim.dvc.pid, signal.SIGINT)
    return True


def kill_rank(victim: Victim) -> bool:
    """Kill -9 of one rank, as the kernel does out of memory."""
    return _kill(victim.ranks()[-1:])


def hang_rank(victim: Victim) -> bool:
    """A rank that never goes on, while the others wait for it."""
    ranks = victim.ranks()
    if len(ranks) < 2 or not victim.newest_step():  # none waits yet
        return False
    with suppress(psutil.Error):
        ranks[-1].suspend()
        return True
    return False


def cancel(victim: Victim) -> bool:
    """`scancel` by somebody else."""
    return victim.to_job("scancel")


def requeue(victim: Victim) -> bool:
    """`scontrol requeue`."""
    return victim.to_job("scontrol", "requeue")


def preempt(victim: Victim) -> bool:
    """Another job takes both nodes."""
    options = ["--partition=high", "--nodes=2", "--exclusive", "--time=1", "--output=/dev/null", "--wrap=sleep 3"]
    return victim.cluster.run("sbatch", "--chdir=/", *options).returncode == 0


def fail_node(victim: Victim) -> bool:
    """A power cut of one node; it comes back."""
    node = "n1"
    victim.cluster.fail(node)
    victim.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=soak")
    time.sleep(AWAY_SECONDS)
    victim.cluster.start(node)
    return True


def restart_controller(victim: Victim) -> bool:
    """SLURM's controller is away for a while."""
    victim.cluster.end("slurmctld")
    time.sleep(AWAY_SECONDS)
    victim.cluster.start("slurmctld")
    return True


def damage_checkpoint(victim: Victim) -> bool:
    """200 other bytes in the newest checkpoint, and the job starts again."""
    checkpoints = victim.checkpoints()
    if not checkpoints:
        return False
    with suppress(FileNotFoundError), checkpoints[-1].open("r+b") as file:
        file.seek(-400, os.SEEK_END)
        damaged = bytes(byte ^ 0x55 for byte in file.read(200))
        file.seek(-400, os.SEEK_END)
        file.write(damaged)
    return kill_rank(victim)


Fault = Callable[[Victim], bool]  # whether there was something that it could befall
FAULTS: tuple[Fault, ...] = (
    kill_dvc, kill_launcher, lose_terminal, interrupt, kill_rank, hang_rank, cancel, requeue, preempt, fail_node,
    restart_controller, damage_checkpoint,
)  # fmt: skip


def title(fault: Fault) -> str:
    """A fault's name to print."""
    return fault.__name__.replace("_", " ")


def _kill(processes: list[psutil.Process]) -> bool:
    killed = False
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
            killed = True
    return killed
