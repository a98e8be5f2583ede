"""A checkpoint is whole or absent."""

from pathlib import Path

import pytest
import torch

from d2it.training.checkpoints import Checkpoints

CPU = torch.device("cpu")


def test_the_newest_is_found_and_only_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new")
    for step in (1, 20, 300):
        checkpoints.save(step, {"x": torch.full((3,), float(step))}, {"curve": [{"loss": step}]})
    found = checkpoints.newest(CPU)
    assert found is not None
    assert (found[0], found[1]["x"].tolist(), found[2]) == (300, [300.0] * 3, {"curve": [{"loss": 300}]})
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "absent").newest(CPU) is None


def test_a_failed_write_leaves_nothing_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": torch.zeros(2)}, {})

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("d2it.training.checkpoints.os.fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, {"x": torch.ones(2)}, {})
    found = checkpoints.newest(CPU)
    assert found is not None
    assert found[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.safetensors"]


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100])
def test_rubbish_is_passed_over(tmp_path: Path, content: bytes) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": torch.zeros(2)}, {})
    (tmp_path / "step-000000002.safetensors").write_bytes(content)
    found = checkpoints.newest(CPU)
    assert found is not None
    assert found[0] == 1
