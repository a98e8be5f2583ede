"""`python -m slurm doctor`: checks whether stages can run on their target, one line per check, and how to mend it."""

import argparse
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.dag import definitions
from pipeline.errors import StageError
from pipeline.root import find_root
from slurm.capabilities import complaints, partitions
from slurm.cluster import Resources, load_resources
from slurm.doctor.job import check_here, check_on_a_node
from slurm.doctor.node import CheckError, Finding, NoCheckError, examine, weights
from slurm.environment import call
from slurm.launcher import CLUSTER
from slurm.target import find_target

_ABOUT = """Checks what stages need of the cluster, or of the machine, that they are to run on (see D2IT_CLUSTER):
one line per check, with what to do about a failure. On a cluster it runs a small job. Exit code 1 if a check fails."""


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0, or 1 if a check has failed.

    Raises:
        StageError: the current folder is no workspace.
    """
    argparse.ArgumentParser("python -m slurm doctor", None, _ABOUT).parse_args(arguments)
    code = 0
    for finding in check():
        print(f"{finding.verdict:<4}  {finding.check}: {finding.detail}", flush=True)
        code |= finding.verdict == "FAIL"
    return code


def check() -> Iterator[Finding]:
    """All checks, the slow ones last."""
    root, stages, resources = find_root(), definitions(), None
    try:
        resources = load_resources(CLUSTER, stages, os.environ.get("D2IT_PROFILE"))
        yield Finding("ok", "cluster.yaml", _describe(resources))
    except StageError as error:
        yield from (Finding("FAIL", "cluster.yaml", line) for line in str(error).splitlines())
    yield examine("dvc", lambda: _rwlock(root / ".dvc" / "tmp" / "rwlock"))
    slurm = examine("SLURM", _version)
    yield slurm
    if slurm.verdict == "skip":
        yield from check_here(root)
        return
    yield examine("weights", weights)
    if slurm.verdict == "FAIL" or resources is None:
        yield Finding("skip", "node", "mend the above first")
        return
    misfits = list(_misfits(resources))
    yield from misfits or [Finding("ok", "partitions", f"what {len(resources)} stages ask for is there")]
    if any(finding.verdict == "FAIL" for finding in misfits):
        yield Finding("skip", "node", "mend the above first")
    else:
        yield from check_on_a_node(root, max(resources.values(), key=lambda asked: asked.gpus_per_node))


def _describe(resources: Mapping[str, Resources]) -> str:
    profile = os.environ.get("D2IT_PROFILE")
    stage, asked = min(resources.items(), key=lambda item: 60 * item[1].time - item[1].signal_delay_s)
    work = f"least time: {stage}, {asked.time} minutes, of which the last {asked.signal_delay_s} s are for saving"
    return f"{len(resources)} stages, {f'profile {profile}' if profile else 'no profile'}; {work}"


def _rwlock(path: Path) -> str:
    """DVC's own file of locks, which a dvc that is killed while it writes leaves empty; no dvc then starts.

    Raises:
        CheckError: it cannot be read.
    """
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "nothing is locked"
    except ValueError:
        raise CheckError(f"{path}: damaged by a dvc that was killed: remove it, while no dvc runs") from None
    return "its file of locks can be read"


def _version() -> str:
    """Version of the SLURM that answers.

    Raises:
        NoCheckError: stages do not run on SLURM.
        CheckError: it does not answer.
    """
    asked = os.environ.get("D2IT_CLUSTER")
    if asked and find_target() != "slurm":
        raise NoCheckError(f"D2IT_CLUSTER = {asked}: stages run on this machine")
    if not asked and shutil.which("sbatch") is None:
        raise NoCheckError("no sbatch on PATH: stages run on this machine")
    conf = os.environ.get("SLURM_CONF")
    if conf and not Path(conf).exists():
        raise CheckError(f"SLURM_CONF = {conf}: no such file; unset it, or start that cluster")
    ping = call("scontrol", "ping")
    if ping is None or ping.returncode or " is UP" not in ping.stdout:
        output = " ".join((ping.stderr or ping.stdout).split()) if ping else "no answer"
        advice = "is this a machine of the cluster? D2IT_CLUSTER=local does without it"
        raise CheckError(f"scontrol ping: {output}; {advice}")
    config = call("scontrol", "show", "config")
    values = dict(re.findall(r"^(SLURM_VERSION|KillWait)\s*= (.*)$", config.stdout if config else "", re.MULTILINE))
    version, kill = values.get("SLURM_VERSION", "of unknown version"), values.get("KillWait", "unknown time").strip()
    return f"{version} answers; a cancelled or preempted job has {kill} to save (KillWait)"


def _misfits(resources: Mapping[str, Resources]) -> Iterator[Finding]:
    """Requests of stages that the cluster cannot meet, and partitions that are down."""
    known = partitions()
    if known is None:
        yield Finding("skip", "partitions", "sinfo does not answer at once")
        return
    stages: dict[str, list[str]] = {}
    for stage, asked in resources.items():
        for line in complaints(asked, known):
            stages.setdefault(line, []).append(stage)
    for line, those in stages.items():
        yield Finding("FAIL", ", ".join(those), f"{line}; change slurm/cluster.yaml, or choose a D2IT_PROFILE")
    named = {asked.partition for asked in resources.values()}
    for partition in known.values():
        wanted = partition.name in named or (partition.is_default and None in named)
        if wanted and partition.state != "up":
            yield Finding("FAIL", f"partition {partition.name}", f"is {partition.state}: its jobs wait; ask its admins")
