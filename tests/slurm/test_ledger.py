"""What a launcher removes before it looks for its job."""

import os
import time
from pathlib import Path

import pytest

from slurm.ledger import sweep

DAY = 86400.0


@pytest.mark.parametrize(("days", "stays"), [(6, True), (8, False)])
def test_a_trunk_goes_after_seven_days_and_its_folder_with_the_last_one(tmp_path: Path, days: int, stays: bool) -> None:
    trunk = tmp_path / ".d2it" / "trunks" / "train_content-0123456789abcdef"
    of_one = trunk / "train_content-fedcba9876543210"
    of_one.mkdir(parents=True)
    (of_one / "step-000000004.safetensors").touch()
    os.utime(of_one, (time.time() - days * DAY,) * 2)
    sweep(tmp_path)
    assert of_one.exists() == trunk.exists() == stays
