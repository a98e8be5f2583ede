"""Runs the doctor's checks where stages run: in a small job on a node, or in a process on this machine."""

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

from pipeline.lock import locked
from slurm.cluster import Resources
from slurm.doctor.node import Finding, Order
from slurm.environment import call, without_settings

SUBMIT_SECONDS = 60.0
QUEUE_SECONDS = 60.0
RUN_SECONDS = 300.0  # torch from a cold shared folder takes its time
GRACE_SECONDS = 15.0  # for a file written on a node to appear on this machine
_NOT_SEEN, _NO_WORKSPACE = 71, 72  # exit codes of the job

# No output until the node has opened the folder: with an output file that it cannot open, SLURM ends a job silently.
_SCRIPT = """#!/bin/bash
cd {folder} || exit 71
exec > log 2>&1
{setup}
cd {workspace} || exit 72
exec {python} -m slurm.doctor.node {folder}
"""


def check_here(root: Path) -> list[Finding]:
    """The checks, in a process of this machine."""
    with order_folder(root, gpus=0, elsewhere=False) as folder:
        command = [sys.executable, "-m", "slurm.doctor.node", str(folder)]
        with (folder / "log").open("w") as log, suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdout=log, stderr=log, timeout=RUN_SECONDS, check=False)
        return _read(folder) or [Finding("FAIL", "this machine", _last_line(folder))]


def check_on_a_node(root: Path, resources: Resources) -> list[Finding]:
    """The checks, in a job of at most 5 minutes on a node such as `resources` ask for."""
    gpus = min(1, resources.gpus_per_node)
    with order_folder(root, gpus=gpus, elsewhere=True) as folder:
        python = resources.python or shlex.quote(sys.executable)
        script = _SCRIPT.format(
            folder=shlex.quote(str(folder)), setup="\n".join(resources.setup), workspace=shlex.quote(str(Path.cwd())),
            python=python,
        )  # fmt: skip
        try:
            done = subprocess.run(
                ["sbatch", *_options(resources, gpus)], input=script, capture_output=True, text=True,
                env=without_settings(os.environ), timeout=SUBMIT_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [Finding("FAIL", "job", f"sbatch: no answer within {SUBMIT_SECONDS:.0f} s; ask again later")]
        if done.returncode:
            message = " ".join(done.stderr.replace("sbatch: error:", "").split())
            return [Finding("FAIL", "job", f"sbatch: {message}; see `sinfo` and slurm/cluster.yaml")]
        job = done.stdout.strip().partition(";")[0]
        try:
            return _wait(job, folder, python)
        finally:
            call("scancel", job)


def _options(resources: Resources, gpus: int) -> list[str]:
    """As the stage's job, but one rank and five minutes."""
    values: dict[str, str | int | bool | None] = {
        "partition": resources.partition, "account": resources.account, "qos": resources.qos,
        "constraint": resources.constraint, "gpus-per-node": gpus or None,
        "mem": f"{int(1024 * min(resources.mem_gb, 4))}M",
    }  # fmt: skip
    values |= {name.replace("_", "-"): value for name, value in resources.sbatch.items()}
    given = [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items() if value]
    fixed = ["--job-name=d2it-doctor", "--time=5", "--nodes=1", "--ntasks=1", "--no-requeue", "--chdir=/"]
    return ["--parsable", *given, *fixed, "--output=/dev/null"]


def _wait(job: str, folder: Path, python: str) -> list[Finding]:
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
            return [_explain(job, folder, python)]
        if now > limit and not ran:
            detail = f"job {job} is still queued after {now:.0f} s ({reason}): cancelled; ask again later"
            return [Finding("skip", "node", detail)]
        if now > limit:
            return [Finding("FAIL", "node", f"job {job} has no result after {now:.0f} s: {_last_line(folder)}")]
        time.sleep(0.5)
    return findings


def _state(job: str) -> tuple[str, str]:
    """State of the job and its reason, as squeue shows them."""
    done = call("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%r")
    if done is None or (done.returncode and "Invalid job id" not in done.stderr):
        return "unknown", "SLURM does not answer"
    state, _, reason = done.stdout.strip().partition("|")
    return state or "gone", reason


def _explain(job: str, folder: Path, python: str) -> Finding:
    """Why a job has ended without a result."""
    done = call("scontrol", "show", "job", "--oneliner", job)
    values = dict(re.findall(r"\b(ExitCode|BatchHost|JobState)=(\S+)", done.stdout if done else ""))
    code, node = int(values.get("ExitCode", "0:0").partition(":")[0]), values.get("BatchHost", "a node")
    if code == _NOT_SEEN:
        shared = "the repository must lie in a folder that all nodes share"
        return Finding("FAIL", f"shared folder on {node}", f"{folder.parent} is not there; {shared}")
    if code == _NO_WORKSPACE:
        return Finding(
            "FAIL", f"shared folder on {node}", f"{Path.cwd()} is not there; run from a folder that nodes share"
        )
    if code in (126, 127):
        shared = "the environment must lie in a folder that all nodes share, or `setup` of cluster.yaml must make it"
        return Finding("FAIL", f"python on {node}", f"{python} does not start; {shared}")
    ended = f"job {job}: {values.get('JobState', 'gone')}, exit code {code}"
    return Finding("FAIL", f"job on {node}", f"{ended}: {_last_line(folder)}")


def _last_line(folder: Path) -> str:
    log = folder / "log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "no output"


def _read(folder: Path) -> list[Finding]:
    result = folder / "result.json"
    return [Finding(**one) for one in json.loads(result.read_text(encoding="utf-8"))] if result.exists() else []


@contextmanager
def order_folder(root: Path, gpus: int, elsewhere: bool) -> Iterator[Path]:
    """A new folder with an order in it, and a lock that is held; removed afterwards."""
    order = Order(str(root), gpus, elsewhere)
    folder = root / ".d2it" / f"doctor-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        (folder / "order.json").write_text(json.dumps(asdict(order)), encoding="utf-8")
        with locked(folder / "lock", seconds=0, refusal="another process holds the lock of a new folder"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
