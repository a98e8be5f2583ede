"""From a stage's name to its outputs: check, look up its job or submit one, wait, deliver."""

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from d2it.params.load import load_params
from d2it.params.sections import Params
from d2it.threads import share_cores, spin_briefly
from pipeline.dag import definition, definitions
from pipeline.downloads import ensure
from pipeline.errors import StageError
from pipeline.git import commit, uncommitted
from pipeline.key import stage_key
from pipeline.root import find_root
from slurm import delivered, local, sbatch
from slurm.capabilities import refuse_impossible
from slurm.cluster import Resources, load_resources
from slurm.frozen import deliver_outputs, freeze
from slurm.interrupt import AbandonedError, Interrupt
from slurm.job import Job
from slurm.ledger import Entry, sweep
from slurm.submission import RefusedError
from slurm.target import Target, find_target
from slurm.wait import wait

CLUSTER = Path(__file__).with_name("cluster.yaml")
LAST = "fid"  # the pipeline's last stage
TAIL_BYTES = 2000  # shown of the log of a job that ran already
EXPERIMENT = ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")  # set by DVC for a stage; they name the job's experiment


def launch(stage: str) -> int:
    """Run a stage of dvc.yaml on its target, and put its outputs into the current folder, the workspace.

    Returns:
        The job's exit code; 128 + n where signal n ended the waiting.

    Raises:
        ParamsError, StageError: a mistake that shows before the job starts.
    """
    definition(stage)
    params, target, root = load_params(), find_target(), find_root()
    resources = resources_of(stage, params, target)
    ensure(stage, params)
    if stage == "prepare":
        from pipeline.ahead import check_data  # whose imports other stages need not wait for

        check_data(params)
    entry = Entry(root, stage, stage_key(stage))
    sweep(root)
    delivered.forget(root)
    if target == "inline":
        return _run_inline(entry, params)
    with Interrupt() as interrupt, entry.waiting() as waiter:
        try:
            with entry.lock():
                if delivered.take(entry):
                    return 0
                existing = _find_job(entry, target, interrupt)
                job = existing or _submit(entry, target, resources, interrupt)
        except AbandonedError:
            print(f"{stage}: {interrupt.reason}; asked for again, it looks for its job first", file=sys.stderr)
            return 128 + interrupt.number
        code = wait(
            job, label=stage, files=entry.files, interrupt=interrupt, is_last=waiter.is_only,
            skip=_shown_bytes(entry, existing),
        )  # fmt: skip
        if code is None:
            return 128 + interrupt.number
        if code == 0:
            with entry.lock():
                _deliver(entry)
                if waiter.is_only():
                    job.cancel()  # a dead node's daemon may never have ended it
                    delivered.keep(entry)
                    entry.clear_scratch()
            _show_summary(entry, params)
    return code


def _run_inline(entry: Entry, params: Params) -> int:
    """In this process."""
    with entry.lock():
        if delivered.take(entry):
            return 0
    spin_briefly()
    from stages.entry import run  # imports torch

    share_cores()
    run(entry.stage, entry.key)
    delivered.keep_workspace(entry)
    entry.clear_scratch()
    _show_summary(entry, params)
    return 0


def _show_summary(entry: Entry, params: Params) -> None:
    """After the pipeline's last stage, whose result a lost terminal does not undo."""
    if entry.stage != LAST:
        return
    from slurm.summary import summary  # whose imports other stages need not wait for

    is_copy = Path.cwd().resolve() != entry.root
    lines = summary(params, Path.cwd(), os.environ.get("DVC_EXP_NAME", "") if is_copy else "")
    with suppress(OSError):
        print(*lines, sep="\n", flush=True)


def _deliver(entry: Entry) -> None:
    try:
        deliver_outputs(entry.tree, Path.cwd(), entry.stage)
    except FileNotFoundError as error:
        raise StageError(
            f"{entry.stage}: its job ended well, but {error.filename} is not to be seen here: is the file system late? "
            f"Nothing was removed; ask for the stage again, or remove {entry.folder} to run it anew"
        ) from None


def _shown_bytes(entry: Entry, existing: Job | None) -> int:
    """Bytes of the log of a job that ran already which need not be shown again."""
    log = entry.files.log(existing.id) if existing else None
    return max(0, log.stat().st_size - TAIL_BYTES) if log and log.exists() else 0


def resources_of(stage: str, params: Params, target: Target) -> Resources:
    """What the stage's job gets, checked as far as is possible before it is submitted.

    Raises:
        StageError: the cluster cannot give it, or the stage cannot use it.
    """
    if target == "slurm":
        resources = load_resources(CLUSTER, definitions(), os.environ.get("D2IT_PROFILE"))[stage]
        origin = f"slurm/cluster.yaml: {stage}: nodes * tasks_per_node"
    else:
        resources = Resources(tasks_per_node=local.ranks_requested())
        origin = "D2IT_RANKS"
    section = {
        "train_dvae": params.dvae,
        "train_grain": params.grain_transformer,
        "train_content": params.content_transformer,
    }.get(stage)
    if section is not None and section.batch_size % resources.world_size:
        raise StageError(
            f"{origin} = {resources.world_size}: cannot share out batch_size = {section.batch_size}: must divide it"
        )
    if target == "slurm":
        refuse_impossible(stage, resources)
    return resources


def _find_job(entry: Entry, target: Target, interrupt: Interrupt) -> Job | None:
    """The job that is queued or runs for this entry, or has succeeded; any other is cleared away, here alone.

    A job that seems to have failed keeps its entry until now: a result that shows up late is still taken.
    """
    record = entry.recall()
    job: Job | None
    if record is None:
        lost = target == "slurm" and entry.folder.exists()  # a local job is recorded, or ends itself
        job = sbatch.find_lost(entry, interrupt.check) if lost else None
    else:
        job = local.attach(entry, record) if record["target"] == "local" else sbatch.attach(entry, record)
    if job is not None:
        code = job.poll_now(interrupt.check)
        if code is None:
            print(f"{entry.stage}: waiting for job {job.id}, {job.state}; log {entry.files.log(job.id)}", flush=True)
            return job
        if code == 0:
            print(f"{entry.stage}: job {job.id} has ended well: taking its result", flush=True)
            return job
        print(f"{entry.stage}: job {job.id} is over ({job.state}): starting anew", file=sys.stderr, flush=True)
    entry.clear()
    return None


def _submit(entry: Entry, target: Target, resources: Resources, interrupt: Interrupt) -> Job:
    try:
        _prepare(entry)
    except BaseException:
        shutil.rmtree(entry.folder, ignore_errors=True)
        raise
    job: Job
    try:
        here = target == "local"
        job = local.submit(entry, resources) if here else sbatch.start(entry, resources, interrupt.check)
    except RefusedError:  # after anything else there may be a job that works in this folder
        shutil.rmtree(entry.folder, ignore_errors=True)
        raise
    entry.record(job.record())
    print(f"{entry.stage}: job {job.id}, {job.state}; log {entry.files.log(job.id)}", flush=True)
    return job


def _prepare(entry: Entry) -> None:
    """Fill the entry's folder with all that its job needs."""
    files, workspace = entry.files, Path.cwd()
    experiment = {name: os.environ[name] for name in EXPERIMENT if name in os.environ}
    environment = experiment | {"D2IT_GIT_COMMIT": commit(workspace), "DVC_ROOT": str(entry.root)}
    order = {"stage": entry.stage, "key": entry.key, "environment": environment}
    entry.tree.mkdir(parents=True)
    freeze(workspace, entry.tree, definition(entry.stage))
    (entry.tree / "dirty.diff").write_text(uncommitted(workspace), encoding="utf-8")
    files.logs.mkdir(parents=True, exist_ok=True)
    files.order.write_text(json.dumps(order), encoding="utf-8")
