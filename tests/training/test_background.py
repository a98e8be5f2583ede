"""Training does not wait for the disk, and what is written is the step's state all the same."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from d2it.training.background import BackgroundWriter
from d2it.training.checkpoints import Checkpoints
from d2it.training.loop import train
from tests.training.test_loop import KilledError, build, weights

CPU = torch.device("cpu")
LIMIT = 60.0


class SlowDisk(Checkpoints):
    """Writes when it is allowed to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.begun, self.allowed = threading.Event(), threading.Event()

    def save(self, step: int, tensors: dict[str, Tensor], records: dict[str, Any]) -> None:
        self.begun.set()
        assert self.allowed.wait(LIMIT)
        super().save(step, tensors, records)


def test_the_checkpoint_holds_what_was_given_though_training_goes_on_before_it_is_written(tmp_path: Path) -> None:
    disk, x = SlowDisk(tmp_path), torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    with BackgroundWriter(disk, lambda *_: None) as writer:
        writer.save(1, {"x": x}, {"curve": [1]})
        assert disk.begun.wait(LIMIT)
        x += 1
        disk.allowed.set()
    newest = disk.newest(CPU)
    assert newest is not None
    assert (newest[0], newest[1]["x"].abs().sum().item(), newest[2]) == (1, 0.0, {"curve": [1]})


def test_an_error_waits_for_the_checkpoint_before_it(tmp_path: Path) -> None:
    updates, run = build(tmp_path, kill_at=32, checkpoint_images=8)
    with pytest.raises(KilledError):
        train(updates, run)
    assert [path.name for path in sorted(tmp_path.iterdir())][-1] == "step-000000004.safetensors"


def test_a_full_disk_is_reported_and_the_next_one_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    failures: list[int] = []
    with BackgroundWriter(Checkpoints(tmp_path), lambda step, _: failures.append(step)) as writer:
        with monkeypatch.context() as patch:
            patch.setattr("d2it.files.os.fsync", disk_full)
            writer.save(1, {"x": torch.zeros(2)}, {})
            writer.wait()
        writer.save(2, {"x": torch.zeros(2)}, {})
    assert failures == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000002.safetensors"]


def test_steps_are_made_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    updates, run = build(tmp_path / "slow", checkpoint_images=8)
    disk = run.checkpoints = SlowDisk(tmp_path / "slow")
    seen: list[int] = []

    def report(images: int, _: object) -> None:
        seen.append(images)
        if disk.begun.is_set():  # a step that was made meanwhile
            disk.allowed.set()

    run.report = report
    train(updates, run)
    plain_updates, plain = build(tmp_path / "plain", checkpoint_images=8)
    train(plain_updates, plain)
    assert disk.allowed.is_set()
    for ours, theirs in zip(weights(updates, run), weights(plain_updates, plain), strict=True):
        assert torch.equal(ours, theirs)
