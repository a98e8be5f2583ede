"""How the ranks of a job find each other: rank 0 opens a port and leaves its address in the job's folder."""

import os
import socket
import time
from datetime import timedelta
from pathlib import Path

from d2it.files import write_text

FIND_SECONDS = 300.0  # for all ranks to start
COLLECTIVE = timedelta(hours=1)  # ranks may wait for rank 0's measurements; a dead rank is noticed at once


def join(path: Path, rank: int, size: int) -> None:
    """Make the process group: gloo for tensors on the CPU, nccl for those on GPUs; `path` is new with each start.

    Raises:
        TimeoutError: rank 0 has not started within five minutes.
    """
    import torch
    from torch.distributed import TCPStore, init_process_group  # type: ignore[attr-defined]

    if rank == 0:
        store = TCPStore("0.0.0.0", 0, size, True, COLLECTIVE, wait_for_workers=False)
        write_text(path, f"{_address()} {store.port}")
    else:
        host, port = _read_address(path)
        store = TCPStore(host, port, size, False, COLLECTIVE, wait_for_workers=False)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    init_process_group(backend, store=store, rank=rank, world_size=size, timeout=COLLECTIVE)


def _address() -> str:
    """Address of this node for the others, which srun sets."""
    given = os.environ.get("SLURM_LAUNCH_NODE_IPADDR")
    if given:
        return given
    if "SLURM_JOB_ID" in os.environ:
        return socket.gethostbyname(socket.gethostname())
    return "127.0.0.1"


def _read_address(path: Path) -> tuple[str, int]:
    deadline = time.monotonic() + FIND_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path}: rank 0 has not started within {FIND_SECONDS:.0f} s")
        time.sleep(0.1)
    host, port = path.read_text(encoding="utf-8").split()
    return host, int(port)
