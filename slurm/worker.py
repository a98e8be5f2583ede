"""What runs inside a job, once per rank: `python -m slurm.worker <job's folder> <folder of its logs>`.

A rank that is asked to end lets its stage save first. At the time limit (USR2, which SLURM sends some time before) the
job then requeues itself and goes on from its checkpoint. After TERM it only ends: SLURM itself requeues a job that it
preempts or whose node fails.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import submitit

from d2it.errors import UserError
from d2it.ranks.stopping import HUNG, Stop, Stopped, stop_again_where_lost
from d2it.threads import share_cores, spin_briefly
from pipeline.inputs import verify_inputs
from slurm.environment import call
from slurm.job import Files

FENCE_SECONDS = 5.0
MOST_HANGS = 3  # starts of a job that hang, after which it is not started again
REQUEUED_SECONDS = 120.0  # for SLURM to end a job that has asked to be requeued


def main(folder: Path, logs: Path) -> int:
    """Exit code: 0; 2 after a user's error; 128 + n after signal n; 1 after any other exception."""
    files, environment = Files(folder, logs), submitit.JobEnvironment()
    rank, attempt = environment.global_rank, int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    order = json.loads(files.order.read_text(encoding="utf-8"))
    os.environ.update(order["environment"])
    stop, received, began = Stop(), set[int](), time.time()

    def ask(number: int, _: object) -> None:
        received.add(number)
        stop.ask(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, ask)
    stop_again_where_lost(stop)
    if rank == 0:
        os.environ["D2IT_PROGRESS"] = str(files.progress)
        files.attempt.write_text(f"{environment.job_id} {attempt}", encoding="utf-8")
        again = f", start {attempt + 1} of job {environment.job_id}" if attempt else ""
        ranks = f", {environment.num_tasks} ranks" if environment.num_tasks > 1 else ""
        print(f"{order['stage']}: begins on {environment.hostname}{ranks}{again}", flush=True)
    _fence(files, environment.job_id, attempt)
    stop.hung = lambda: _leave_hung(files, environment.job_id, rank, attempt)
    try:
        _run(order, files=files, environment=environment, attempt=attempt, stop=stop)
        code = 0
    except Stopped as stopped:
        print(f"stopped by {signal.Signals(stopped.number).name}", file=sys.stderr, flush=True)
        if stopped.number != signal.SIGUSR2 or signal.SIGTERM in received:  # preempted, SLURM sends both
            return 128 + signal.SIGTERM  # no failure of the job yet: SLURM may requeue it
        code = _requeue(order, files, environment.job_id, rank=rank, began=began)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        code = 2
    except BaseException:
        _record_failure(files, rank, 1)
        raise
    if code:
        _record_failure(files, rank, code)
    elif rank == 0:
        files.end(0)
    return code


def _run(
    order: dict[str, Any], *, files: Files, environment: submitit.JobEnvironment, attempt: int, stop: Stop
) -> None:
    """Run the stage as one of the job's ranks; torch is imported here, not by the launcher."""
    spin_briefly()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # or each rank warns of what `Ranks.data_parallel` asks for
    import torch

    from d2it.ranks.ranks import Ranks
    from slurm.rendezvous import join
    from stages.entry import run

    rank, size = environment.global_rank, environment.num_tasks
    if "SLURM_CPUS_PER_TASK" in os.environ:
        torch.set_num_threads(int(os.environ["SLURM_CPUS_PER_TASK"]))
    else:
        share_cores(size)
    if torch.cuda.is_available():
        torch.cuda.set_device(environment.local_rank % torch.cuda.device_count())
    if size > 1:
        join(files.folder / f"rendezvous-{environment.job_id}-{attempt}", rank, size)
    if rank == attempt == 0:  # the other ranks wait for the stage's folders; a restart would read all of it again
        verify_inputs(order["stage"])
    run(order["stage"], order["key"], Ranks(rank, size, stop), lambda: files.end(0))


def _requeue(order: dict[str, Any], files: Files, job_id: str, *, rank: int, began: float) -> int:
    """Put the job back into the queue, if it has saved anything since it began; does not return if it has."""
    scratch = Path(order["environment"]["DVC_ROOT"], ".d2it", "scratch", f"{order['stage']}-{order['key'][:16]}")
    if not any(path.stat().st_mtime >= began for path in scratch.glob("*")):
        line = f"{order['stage']}: nothing could be saved before the time limit: raise its time in slurm/cluster.yaml"
        print(line, file=sys.stderr, flush=True)
        return 128 + signal.SIGUSR2
    if rank == 0:
        print("saved; asking SLURM to requeue the job", flush=True)
        _leave_to_script(files, 128 + signal.SIGUSR2)
        done = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            time.sleep(FENCE_SECONDS)  # a TERM that is on its way ends this process here: SLURM requeues it by itself
            print(f"scontrol requeue: {done.stderr.strip()}", file=sys.stderr, flush=True)
            return 128 + signal.SIGUSR2
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(REQUEUED_SECONDS)  # a rank that ends now would look like a failure
    return 128 + signal.SIGUSR2


def _leave_to_script(files: Files, code: int) -> None:
    """In a container without SLURM's programs: end, for the job's script around it to requeue the job."""
    if shutil.which("scontrol") is None:
        files.requeue.touch()
        os._exit(code)


def _leave_hung(files: Files, job_id: str, rank: int, attempt: int) -> None:
    """End a process whose main thread hangs: SLURM starts the job again, a few times; called on all ranks."""
    if rank:
        time.sleep(FENCE_SECONDS)  # rank 0 is to ask, if it can
    with files.hangs.open("a") as file:
        file.write(f"{attempt}\n")
    if "SLURM_JOB_ID" in os.environ and len(set(files.hangs.read_text().split())) < MOST_HANGS:
        print("asking SLURM to requeue the job", file=sys.stderr, flush=True)
        _leave_to_script(files, HUNG)
        if call("scontrol", "requeue", job_id) is not None:
            time.sleep(REQUEUED_SECONDS)
    _record_failure(files, rank, HUNG)
    os._exit(HUNG)


def _record_failure(files: Files, rank: int, code: int) -> None:
    """Write which rank failed, and the job's exit code, for the launchers that wait."""
    with files.failures.open("a") as file:
        file.write(f"{rank} {code}\n")
    files.end(code)


def _fence(files: Files, job_id: str, attempt: int) -> None:
    """End this process once it is not the job's newest start, as after a node was cut off: only one may run.

    Nor may a job of which the launcher knows nothing, since it recorded another: sbatch had timed out.
    """

    def watch() -> None:
        while True:
            if not files.folder.exists():
                os._exit(0)  # the launcher has the result, or has given the job up
            with contextlib.suppress(OSError, ValueError):  # not written yet
                recorded = json.loads(files.submitted.read_text(encoding="utf-8"))["id"]
                if recorded != job_id:
                    print(f"job {recorded} runs this stage: ending job {job_id}", file=sys.stderr, flush=True)
                    os._exit(1)
                newest_id, newest = files.attempt.read_text(encoding="utf-8").split()
                if newest_id == job_id and int(newest) > attempt:
                    print("SLURM has started this job elsewhere: ending", file=sys.stderr, flush=True)
                    os._exit(1)
            time.sleep(FENCE_SECONDS)

    threading.Thread(target=watch, name="fence", daemon=True).start()


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is written; Python would take 2 s to unload PyTorch and MLflow
