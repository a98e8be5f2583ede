"""What DVC's queue holds, also where dvc fails for a moment."""

import shutil
from pathlib import Path

import pytest

from ablations import experiments
from ablations.plan import plan
from ablations.run import run_tables
from ablations.tables import read_tables
from pipeline.errors import StageError
from tests.ablations.handmade import HandMade

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


@pytest.mark.slow
def test_outputs_that_the_lock_records_and_the_cache_lacks_are_known(tmp_path: Path) -> None:
    made = HandMade(tmp_path)
    one = plan(read_tables()["window"], tmp_path, "demo", 1).experiments[0]
    made.add(one, {"train_dvae.psnr": 20.0})
    (tmp_path / "dvc.lock").write_text(made.git("show", f"{experiments.done(tmp_path)[one.name]}:dvc.lock"))
    assert experiments.lacking_outputs(tmp_path) == []
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    assert "outputs/train_dvae/metrics.json" in experiments.lacking_outputs(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "warned"), [("demo", True), ("ffhq_b", False)])
def test_a_dvae_of_another_machine_is_named_before_several_experiments_train_it(
    preset: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = HandMade(tmp_path)
    monkeypatch.setattr(experiments, "lacking_outputs", lambda _: ["outputs/train_dvae/weights.safetensors"])
    run_tables([plan(read_tables()["window"], made.folder, preset, 1)], made.folder, jobs=1, dry_run=True)
    assert ("it anew: `dvc repro` first" in capsys.readouterr().err) == warned
