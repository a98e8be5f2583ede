"""CPU threads of a process: its share of the cores that it may use, and none that spins where others want the core."""

import os

SPINS = "1000"  # turns of a waiting loop; then a thread sleeps until it is woken


def usable_cores() -> int:
    """Cores that this process may run on: by its affinity, and by the quota of its container (cgroup)."""
    from joblib import cpu_count  # a third of a second, which the launcher need not wait for

    return int(cpu_count())


def spin_briefly() -> None:
    """Shorten OpenMP's waiting in this process and those it starts; call before PyTorch is imported.

    By default a thread that waits for the others of its process spins for milliseconds. Beside another process that
    takes from the others, which makes training several times slower (`python -m benchmarks.busy`). What the user has
    set in GOMP_SPINCOUNT or OMP_WAIT_POLICY stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def share_cores(processes: int = 1) -> None:
    """Limit PyTorch's threads to this process's share of the cores; OMP_NUM_THREADS stays, if the user has set it.

    Args:
        processes: that compute on this machine at the same time.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores()) // processes))
