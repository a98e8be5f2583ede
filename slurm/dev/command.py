"""`python -m slurm dev up|down|status`: a real SLURM of two nodes on this machine, for development and tests."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from d2it.errors import UserError
from pipeline.root import find_root
from slurm.dev.cluster import DAEMONS, DevCluster

_ABOUT = """A private SLURM of two nodes on this machine (Debian packages slurm-wlm and munge), run by the current user:

  eval "$(python -m slurm dev up)"    start it; stages asked for in this shell then run on it
  python -m slurm dev status          its daemons and nodes
  eval "$(python -m slurm dev down)"  end its jobs and daemons, and remove its folder

Partition low is the default; jobs in partition high preempt those in low. --conf 'KillWait=5' sets a line of its
slurm.conf, and can be given several times."""


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0; 1 where `status` finds a daemon that does not run; 2 for a mistake that one line explains."""
    parser = argparse.ArgumentParser("python -m slurm dev", None, _ABOUT, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("--folder", type=Path, help="where it lives; default: .d2it/slurm-dev at the repository's root")
    parser.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a line of slurm.conf (up)")
    given = parser.parse_args(arguments)
    try:
        cluster = DevCluster((given.folder or find_root() / ".d2it" / "slurm-dev").resolve())
        if given.action == "status":
            return _status(cluster)
        if given.action == "down":
            cluster.down()
            print("unset SLURM_CONF D2IT_PROFILE")
        else:
            cluster.up(given.conf)
            where = f" --folder {shlex.quote(str(cluster.folder))}" if given.folder else ""
            print(f"SLURM runs in {cluster.folder}; it ends with: python -m slurm dev down{where}", file=sys.stderr)
            # profile `dev` of cluster.yaml fits these nodes
            print(f"export SLURM_CONF={shlex.quote(str(cluster.conf))} D2IT_PROFILE=dev")
    except UserError as error:
        print(error, file=sys.stderr)
        if given.action == "up" and not sys.stdout.isatty():
            print("false")  # so that `eval "$(...)"` fails too
        return 2
    return 0


def _status(cluster: DevCluster) -> int:
    pids = {daemon: cluster.pid(daemon) for daemon in DAEMONS}
    for daemon, pid in pids.items():
        print(f"{daemon}: {f'runs, process {pid}' if pid else 'does not run'}")
    if pids["slurmctld"]:
        print(cluster.run("sinfo").stdout, end="")
    return 0 if all(pids.values()) else 1
