"""A DVC that is ended between the end of a job and its record in dvc.lock loses nothing."""

import os
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.key import content_md5
from slurm.clean import main as clean
from slurm.delivered import forget as forget_old
from tests.slurm.repository import DAG, LIMIT, STAGE, WEIGHTS, WRITES, Repository, delivered

pytestmark = pytest.mark.slow

TARGETS = pytest.mark.parametrize("target", ["local", "inline"])


def kept(repository: Repository) -> list[Path]:
    return sorted((repository.folder / ".d2it" / "delivered").glob("*"))


def forget(repository: Repository) -> None:
    """As DVC, which removes the outputs of a stage before it runs."""
    (repository.folder / WEIGHTS).unlink()


def record(repository: Repository) -> None:
    """As DVC, which writes dvc.lock after a stage."""
    stage, params = YAML().load(DAG)["stages"][STAGE], YAML().load(repository.folder / "params.yaml")
    entry = {
        "cmd": stage["cmd"],
        "deps": [{"path": path, "md5": content_md5(repository.folder / path)} for path in stage["deps"]],
        "params": {"params.yaml": {name: params[name] for name in stage["params"]}},
        "outs": [{"path": str(WEIGHTS), "md5": content_md5(repository.folder / WEIGHTS)}],
    }
    YAML().dump({"schema": "2.0", "stages": {STAGE: entry}}, repository.folder / "dvc.lock")


@TARGETS
def test_a_result_that_dvc_has_not_recorded_is_taken_and_not_made_anew(repository: Repository, target: str) -> None:
    repository.stage_is(WRITES)
    repository.run(D2IT_CLUSTER=target)
    forget(repository)
    done = repository.run(D2IT_CLUSTER=target)
    assert done.returncode == 0
    assert "taking its result" in done.stdout
    assert delivered(repository.folder)
    assert len(repository.starts()) == 1


@TARGETS
def test_a_stage_that_dvc_has_recorded_and_forces_runs_again(repository: Repository, target: str) -> None:
    repository.stage_is(WRITES)
    repository.run(D2IT_CLUSTER=target)
    record(repository)
    forget(repository)
    done = repository.run(D2IT_CLUSTER=target)
    assert "taking its result" not in done.stdout
    assert delivered(repository.folder)
    assert len(repository.starts()) == 2


def test_what_is_recorded_goes_when_the_next_stage_starts_whatever_params_it_has(repository: Repository) -> None:
    repository.stage_is(WRITES)
    repository.run()
    record(repository)
    assert [path.name.rpartition("-")[0] for path in kept(repository)] == [STAGE]
    params = YAML().load(repository.folder / "params.yaml")
    params["content_transformer"]["learning_rate"] *= 2
    YAML().dump(params, repository.folder / "params.yaml")
    repository.run("prepare")
    assert [path.name.rpartition("-")[0] for path in kept(repository)] == ["prepare"]


def test_only_the_outputs_are_kept_and_as_hard_links(repository: Repository) -> None:
    repository.stage_is(WRITES)
    repository.run()
    (result,) = kept(repository)
    (file,) = [path for path in result.rglob("*") if path.is_file()]
    assert file.samefile(repository.folder / WEIGHTS)


def test_another_workspace_of_the_repository_takes_a_result_too(repository: Repository, tmp_path: Path) -> None:
    repository.stage_is(WRITES)
    repository.run()
    other = repository.copy(tmp_path / "other")
    (other / WEIGHTS).unlink()
    launcher = repository.start(workspace=other)
    out, _ = launcher.communicate(timeout=LIMIT)
    assert "taking its result" in out
    assert delivered(other)


def test_what_nobody_has_asked_for_in_a_week_and_halves_go(repository: Repository) -> None:
    repository.stage_is(WRITES)
    repository.run()
    (result,) = kept(repository)
    half = result.with_name(f"{result.name}.part")
    half.mkdir()
    repository.run("prepare")
    assert result.exists()
    assert not half.exists()
    os.utime(result, (0, time.time() - 8 * 86400))
    repository.run("prepare")
    assert not result.exists()


def test_a_result_that_is_kept_survives_a_lock_file_of_another_version(repository: Repository) -> None:
    repository.stage_is(WRITES)
    repository.run()
    record(repository)
    lock = YAML().load(repository.folder / "dvc.lock")
    lock["stages"][STAGE]["params"]["params.yaml"] = {"gone.since": 1}
    YAML().dump(lock, repository.folder / "dvc.lock")
    forget(repository)
    assert "taking its result" in repository.run().stdout


def test_a_removal_that_is_killed_leaves_no_half_of_a_result_to_be_taken(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.stage_is(WRITES)
    repository.run()
    (result,) = kept(repository)
    name, old = result.name, time.time() - 8 * 86400
    os.utime(result, (old, old))

    def killed(path: Path, **_: object) -> None:
        next(file for file in path.rglob("*") if file.is_file()).unlink()
        raise KeyboardInterrupt

    monkeypatch.chdir(repository.folder)
    monkeypatch.setattr("slurm.delivered.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        forget_old(repository.folder)
    assert name not in [path.name for path in kept(repository)]


def test_clean_lists_a_kept_result_and_removes_it_when_asked(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.stage_is(WRITES)
    repository.run()
    monkeypatch.chdir(repository.folder)
    monkeypatch.setenv("DVC_ROOT", str(repository.folder))
    assert clean(["--days", "0", "--yes"]) == 0
    assert "result " in capsys.readouterr().out
    assert kept(repository) == []
