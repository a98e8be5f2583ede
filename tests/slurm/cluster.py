"""A private SLURM for tests, and what can befall it."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from slurm.dev.cluster import DAEMONS, DevCluster, missing_programs


class Cluster:
    """A private SLURM of the nodes n1 and n2, and what can befall it."""

    def __init__(self, dev: DevCluster) -> None:
        self.dev = dev
        # and none of the settings that the shell which runs the tests has for its own stages
        self.env = dev.environment | {"D2IT_CLUSTER": "slurm", "D2IT_PROFILE": "dev"}

    def run(self, *command: str, timeout: float = 60.0) -> str:
        """Stdout of a program that is run against this cluster and must end with 0."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def stop_node(self, node: str) -> None:
        """A power cut: its processes end at once, and SLURM marks it down, as it would after a time-out."""
        self.dev.fail(node)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def start_node(self, node: str) -> None:
        """Bring a stopped node back; returns when SLURM gives it jobs again."""
        self.dev.start(node)
        self.dev.wait_for_nodes("idle", "mixed", "allocated", nodes=[node])  # ReturnToService=2 resumes it

    def stop_controller(self) -> None:
        """The controller saves its state and ends; jobs go on."""
        self.dev.end("slurmctld")

    def start_controller(self) -> None:
        """Bring it back, with the state that it saved; returns when it answers."""
        self.dev.start("slurmctld")
        self.dev.wait_for_nodes("idle", "mixed", "allocated", "completing")

    def restart_controller(self) -> None:
        """Both of the above."""
        self.stop_controller()
        self.start_controller()

    def mend(self) -> None:
        """Make it whole again, with no job."""
        for daemon in DAEMONS:
            if self.dev.pid(daemon) is None:
                self.dev.start(daemon)
        self.run("scancel", f"--user={os.geteuid()}")
        down = self.run("sinfo", "--noheader", "--Node", "--format=%N", "--states=down,drain,fail").split()
        for node in sorted(set(down)):
            self.dev.run("scontrol", "update", f"nodename={node}", "state=resume")  # refused if just back by itself
        self.dev.wait_for_nodes("idle")


def start_cluster(*lines: str) -> Cluster:
    """A cluster of its own, for a test that needs other lines of slurm.conf; its `dev.down()` ends it."""
    if missing := missing_programs():
        pytest.skip(f"needs SLURM: no {', '.join(missing)}; Debian packages slurm-wlm and munge")
    dev = DevCluster(Path(tempfile.mkdtemp(prefix="d2it-slurm-")))
    dev.up(lines)
    return Cluster(dev)
