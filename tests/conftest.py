"""Test-wide settings."""

import torch

pytest_plugins = ["tests.tracking.fixtures"]  # also for stages and ablations

torch.set_num_threads(1)  # small tensors: threads would only wait for each other
