"""`python -m slurm check`: in seconds, what any stage would refuse of params, data, weights, disk and cluster."""

import argparse

from d2it.data.sources import summary
from d2it.params.changes import changed_params
from pipeline.ahead import check_data
from pipeline.dag import definitions
from pipeline.downloads import ensure
from slurm.launcher import resources_of
from slurm.target import find_target

_ABOUT = """Checks, before any stage runs, what a later one would refuse: params.yaml, the images of data.source and
their halves, whether there are enough of them for fid, weights (which it downloads where they are missing), free disk
with DVC's cache, and the resources of each job. `dvc repro` does the same before the first stage. With -S, of params
that `dvc exp run -S` would make, before it changes any."""


def main(arguments: list[str]) -> int:
    """Exit code 0: nothing would be refused.

    Raises:
        UserError: the first thing that would be; one line.
    """
    parser = argparse.ArgumentParser("python -m slurm check", None, _ABOUT)
    parser.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", dest="changes",
                        help="a change of params.yaml, as of dvc exp run, which only checks it here")  # fmt: skip
    params, target = changed_params(parser.parse_args(arguments).changes), find_target()
    for line in summary(check_data(params)):
        print(f"data.source = {params.data.source}: {line}")
    ensure("prepare", params)
    print("weights: all there")
    for stage in definitions():
        resources_of(stage, params, target)
    print(f"resources of {len(definitions())} stages: as {target} allows")
    return 0
