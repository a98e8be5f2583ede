"""Where tensors are computed, and that it happens in the same order each time."""

import os

import torch


def pick_device() -> torch.device:
    """The GPU, if there is one, else the CPU; with deterministic kernels.

    On a CPU too: several threads sum the gradient of an index into the packed tokens in any order.
    """
    # "warn": a few kernels have no such form. use_deterministic_algorithms would import torch.compile's stack, seconds.
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only costs time
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    return torch.device("cuda", torch.cuda.current_device())  # slurm/worker.py gives each rank its own
