"""Sends the doctor's checks to where stages run: a small job on a node, or a process on this machine."""

import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from slurm.cluster import Resources
from slurm.doctor.node import Finding, Order
from slurm.queue import call

SUBMIT_SECONDS = 60.0
QUEUE_SECONDS = 60.0
RUN_SECONDS = 300.0  # torch from a cold shared folder takes its time
GRACE_SECONDS = 15.0  # for a file written on a node to show up here
_NOT_SEEN, _NO_WORKSPACE = 71, 72  # exit codes of the job

# Its output goes nowhere until the folder is known to be seen: SLURM would end the job without a word.
_SCRIPT = """#!/bin/bash
cd {folder} || exit 71
exec > log 2>&1
{setup}
cd {workspace} || exit 72
exec {python} -m slurm.doctor.node {folder}
"""


def check_here(root: Path) -> list[Finding]:
    """The checks, in a process of this machine."""
    with _folder(root, gpus=0, elsewhere=False) as folder:
        command = [sys.executable, "-m", "slurm.doctor.node", str(folder)]
        with (folder / "log").open("w") as log, suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdout=log, stderr=log, timeout=RUN_SECONDS, check=False)
        return _read(folder) or [Finding("FAIL", "this machine", _last_line(folder))]


def check_on_a_node(root: Path, resources: Resources) -> list[Finding]:
    """The checks, in a job of at most 5 minutes on a node such as `resources` ask for."""
    gpus = min(1, resources.gpus_per_node)
    with _folder(root, gpus=gpus, elsewhere=True) as folder:
        script = _SCRIPT.format(
            folder=shlex.quote(str(folder)),
            setup="\n".join(resources.setup),
            workspace=shlex.quote(str(Path.cwd())),
            python=shlex.quote(sys.executable),
        )
        try:
            done = subprocess.run(
                ["sbatch", *_options(resources, gpus)],
                input=script,
                env={name: value for name, value in os.environ.items() if not re.match("SLURM_(?!CONF$)", name)},
                capture_output=True,
                text=True,
                timeout=SUBMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [Finding("FAIL", "job", f"sbatch: no answer within {SUBMIT_SECONDS:.0f} s; ask again later")]
        if done.returncode:
            said = " ".join(done.stderr.replace("sbatch: error:", "").split())
            return [Finding("FAIL", "job", f"sbatch: {said}; see `sinfo` and slurm/cluster.yaml")]
        job = done.stdout.strip().partition(";")[0]
        try:
            return _wait(job, folder)
        finally:
            call("scancel", job)


def _options(resources: Resources, gpus: int) -> list[str]:
    """As the stage's job, but one rank and five minutes."""
    values: dict[str, str | int | bool | None] = {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "gpus-per-node": gpus or None,
        "mem": f"{int(1024 * min(resources.mem_gb, 4))}M",
    }
    values |= {name.replace("_", "-"): value for name, value in resources.sbatch.items()}
    given = [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items() if value]
    ours = ["--job-name=d2it-doctor", "--time=5", "--nodes=1", "--ntasks=1", "--no-requeue", "--chdir=/"]
    return ["--parsable", *given, *ours, "--output=/dev/null"]


def _wait(job: str, folder: Path) -> list[Finding]:
    start, limit = time.monotonic(), QUEUE_SECONDS
    ran, ended = False, float("inf")
    while not (findings := _read(folder)):
        state, reason = _state(job)
        now = time.monotonic() - start
        if state == "RUNNING" and not ran:
            ran, limit = True, now + RUN_SECONDS
        if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "unknown"):
            ended = min(ended, now)
        if now - ended > GRACE_SECONDS:
            return [_explain(job, folder)]
        if now > limit and not ran:
            found = f"job {job} is still queued after {now:.0f} s ({reason}): cancelled; ask again later"
            return [Finding("skip", "node", found)]
        if now > limit:
            return [Finding("FAIL", "node", f"job {job} has no result after {now:.0f} s: {_last_line(folder)}")]
        time.sleep(0.5)
    return findings


def _state(job: str) -> tuple[str, str]:
    """SLURM's words for the job's state and its reason."""
    done = call("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%r")
    if done is None or (done.returncode and "Invalid job id" not in done.stderr):
        return "unknown", "SLURM does not answer"
    state, _, reason = done.stdout.strip().partition("|")
    return state or "gone", reason


def _explain(job: str, folder: Path) -> Finding:
    """Why a job has ended without a result."""
    done = call("scontrol", "show", "job", "--oneliner", job)
    found = dict(re.findall(r"\b(ExitCode|BatchHost|JobState)=(\S+)", done.stdout if done else ""))
    code, node = int(found.get("ExitCode", "0:0").partition(":")[0]), found.get("BatchHost", "a node")
    if code == _NOT_SEEN:
        shared = "the repository must lie in a folder that all nodes share"
        return Finding("FAIL", f"shared folder on {node}", f"{folder.parent} is not there; {shared}")
    if code == _NO_WORKSPACE:
        return Finding(
            "FAIL", f"shared folder on {node}", f"{Path.cwd()} is not there; run from a folder that nodes share"
        )
    if code in (126, 127):
        shared = "the environment must lie in a folder that all nodes share, or `setup` of cluster.yaml must make it"
        return Finding("FAIL", f"python on {node}", f"{sys.executable} does not start; {shared}")
    ended = f"job {job}: {found.get('JobState', 'gone')}, exit code {code}"
    return Finding("FAIL", f"job on {node}", f"{ended}: {_last_line(folder)}")


def _last_line(folder: Path) -> str:
    log = folder / "log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "it has said nothing"


def _read(folder: Path) -> list[Finding]:
    result = folder / "result.json"
    return [Finding(**one) for one in json.loads(result.read_text(encoding="utf-8"))] if result.exists() else []


@contextmanager
def _folder(root: Path, gpus: int, elsewhere: bool) -> Iterator[Path]:
    """A new folder with an order in it, and a lock that is held; gone afterwards."""
    order = Order(str(root), gpus, elsewhere)
    folder = root / ".d2it" / f"doctor-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        (folder / "order.json").write_text(json.dumps(asdict(order)), encoding="utf-8")
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
