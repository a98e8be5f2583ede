"""`python -m slurm <stage>`: run a stage as a job. dvc.yaml runs every stage with it."""

import argparse
import os
import signal
import sys

from d2it.errors import UserError
from slurm.launcher import launch

LOST_TERMINAL = 128 + signal.SIGHUP

_ABOUT = """Runs one stage of dvc.yaml as a job, shows its log, and ends with its exit code.
A stage that has a job already, queued or running, is not submitted again: the launcher waits for that job.

D2IT_CLUSTER chooses where: slurm (sbatch, resources from slurm/cluster.yaml), local (processes on this machine) or
inline (in this very process, for a debugger). Without it: slurm where one is configured, else local.
D2IT_PROFILE chooses a profile of slurm/cluster.yaml. D2IT_RANKS: processes of a local job (default 1).

  python -m slurm check              checks params, data, weights and disk before the first stage
  python -m slurm doctor             checks the cluster, and explains how to mend what fails
  python -m slurm clean              lists old logs, checkpoints and jobs with their sizes; --yes removes them
  python -m slurm dev up|down|status a private two-node SLURM on this machine
  python -m slurm soak               random faults against a training on such a SLURM"""


def main() -> int:
    """Exit code: the job's; 2 for a mistake that one line explains; 128 + n after signal n."""
    parser = argparse.ArgumentParser("python -m slurm", None, _ABOUT, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", help="a stage of dvc.yaml, or check, doctor, clean, dev, soak")
    try:
        match sys.argv[1:]:
            case ["check", *rest]:
                from slurm import check

                return check.main(rest)
            case ["doctor", *rest]:
                from slurm.doctor import command as doctor

                return doctor.main(rest)
            case ["clean", *rest]:
                from slurm import clean

                return clean.main(rest)
            case ["dev", *rest]:
                from slurm.dev import command as dev

                return dev.main(rest)
            case ["soak", *rest]:
                from slurm.soak import command as soak

                return soak.main(rest)
        code = launch(parser.parse_args().stage)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before there was a job
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the terminal was lost while the launcher wrote a line of its own
        code = LOST_TERMINAL
    if code == LOST_TERMINAL:
        _drop_output()
    return code


def _drop_output() -> None:
    """What still waits to be written would fail when Python ends, which makes 120 of any exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
