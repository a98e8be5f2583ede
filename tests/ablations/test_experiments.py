"""What DVC's queue holds, also where dvc fails for a moment."""

from pathlib import Path

import pytest

from ablations import experiments
from pipeline.errors import StageError

STATUS = """Task     Name    Created    Status
1a2b3c4  one     05:12 AM   Running
5d6e7f8  two     05:12 AM   Queued

Worker status: 1 active, 1 idle
"""


def test_a_queue_that_dvc_cannot_read_while_its_worker_writes_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["", "", STATUS])

    def dvc(*_: object) -> str:
        if answer := next(answers):
            return answer
        raise StageError("ERROR: unexpected error - Expecting value: line 1 column 1 (char 0)")

    monkeypatch.setattr(experiments, "dvc", dvc)
    monkeypatch.setattr(experiments, "TRY_SECONDS", 0.0)
    queue = experiments.queue(tmp_path)
    assert [(task.name, task.state) for task in queue.tasks] == [("one", "running"), ("two", "queued")]
    assert queue.workers == 2


def test_a_dvc_that_always_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dvc(*_: object) -> str:
        raise StageError("no repository")

    monkeypatch.setattr(experiments, "dvc", dvc)
    monkeypatch.setattr(experiments, "TRY_SECONDS", 0.0)
    with pytest.raises(StageError, match="no repository"):
        experiments.queue(tmp_path)
