"""Random faults against a training: nothing is lost, doubled or other."""

import pytest

from slurm.dev.cluster import missing_programs
from slurm.soak.command import Score, main
from slurm.soak.faults import FAULTS, title


def test_goodput_is_the_useful_share_of_the_wall_time() -> None:
    score = Score(undisturbed=30.0, trainings=4, seconds=240.0)
    score.faults.update(["kill dvc", "kill dvc", "requeue"])
    lines = score.lines()
    assert "| goodput (useful time / wall time) | 0.50 |" in lines
    assert "| - kill dvc | 2 |" in lines
    assert score.is_good


@pytest.mark.parametrize("wrong", ["other_bytes", "double_jobs", "lost_points", "doubled_points"])
def test_anything_lost_doubled_or_other_is_a_failure(wrong: str) -> None:
    assert not Score(undisturbed=30.0, **{wrong: 1}).is_good


def test_every_fault_has_a_title_of_its_own() -> None:
    assert len({title(fault) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.slow
@pytest.mark.slurm
def test_no_fault_loses_anything(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind once, at random times: test_faults.py and test_kills.py look closer."""
    if missing := missing_programs():
        pytest.skip(f"needs SLURM: no {', '.join(missing)}")
    assert main(["--each", "--minutes", "20", "--mtbf", "8", "--seed", "1"]) == 0
    printed = capsys.readouterr().out
    assert "| results of other bytes | 0 |" in printed
    assert [title(fault) for fault in FAULTS if f": {title(fault)}\n" not in printed] == []
