"""`python -m slurm`: mistakes are reported in one line before anything is written."""

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import StageError
from slurm.target import find_target

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages:\n  prepare: {cmd: x, params: [seed]}\n  fid: {cmd: y, params: [fid]}\n")
    return tmp_path


def command(workspace: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if name not in ("D2IT_CLUSTER", "DVC_ROOT")}
    return subprocess.run(
        [sys.executable, "-m", "slurm", *arguments],
        cwd=workspace,
        env=kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_an_unknown_stage_is_one_line_that_lists_the_allowed_ones(workspace: Path) -> None:
    done = command(workspace, "train_gan")
    assert done.returncode == 2
    assert done.stderr == "unknown stage 'train_gan'; allowed: prepare, fid\n"


def test_wrong_params_are_one_line_each_and_nothing_is_written(workspace: Path) -> None:
    right = (workspace / "params.yaml").read_text()
    wrong = right.replace("\nseed: 0", "\nseed: -1").replace("  window: 8", "  window: two")
    (workspace / "params.yaml").write_text(wrong)
    before = files(workspace)
    done = command(workspace, "prepare")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("params.yaml: ") for line in lines)
    assert "seed = -1" in done.stderr
    assert "refinenet.window = 'two'" in done.stderr
    assert done.stdout == ""
    assert files(workspace) == before


@pytest.mark.parametrize("value", ["Slurm", "cluster"])
def test_an_unknown_target_is_one_line_and_nothing_is_written(workspace: Path, value: str) -> None:
    before = files(workspace)
    done = command(workspace, "prepare", D2IT_CLUSTER=value)
    assert done.returncode == 2
    assert done.stderr == f"D2IT_CLUSTER = {value!r}: must be slurm, local, inline, or unset\n"
    assert files(workspace) == before


def test_help_names_the_targets(workspace: Path) -> None:
    done = command(workspace, "--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("D2IT_CLUSTER", "slurm", "local", "inline"))


def test_the_launcher_imports_neither_torch_nor_mlflow() -> None:
    code = "import sys, slurm.__main__; print([name for name in ('torch', 'mlflow', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def program(folder: Path, name: str, lines: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
    (folder / name).chmod(stat.S_IRWXU)


NO_CLUSTER = "echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1"


@pytest.mark.parametrize(("ping", "target"), [("echo 'Slurmctld(primary) at c is UP'", "slurm"), (NO_CLUSTER, "local")])
def test_without_a_choice_slurm_is_taken_where_one_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ping: str, target: str
) -> None:
    monkeypatch.delenv("D2IT_CLUSTER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_target() == "local"
    program(tmp_path, "sbatch", "exit 0")
    program(tmp_path, "scontrol", ping)
    assert find_target() == target


@pytest.mark.parametrize("ping", ["echo 'Slurmctld(primary) at c is DOWN'", "exit 1", "/bin/sleep 60"])
def test_a_slurm_that_does_not_answer_is_waited_for_and_no_stage_runs_on_the_login_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ping: str
) -> None:
    monkeypatch.delenv("D2IT_CLUSTER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("slurm.environment.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("slurm.target._PAUSE_SECONDS", 0.1)
    program(tmp_path, "sbatch", "exit 0")
    program(tmp_path, "scontrol", f"[ -e {tmp_path}/up ] && echo 'Slurmctld(primary) at c is UP' && exit\n{ping}")
    threading.Timer(1.0, (tmp_path / "up").touch).start()
    assert find_target() == "slurm"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("SLURM does not answer (scontrol ping): waiting up to 60 min; D2IT_CLUSTER=local")


def test_a_slurm_that_stays_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("D2IT_CLUSTER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("slurm.target.WAIT_SECONDS", 0.0)
    program(tmp_path, "sbatch", "exit 0")
    program(tmp_path, "scontrol", "exit 1")
    with pytest.raises(StageError, match=r"has not answered .* D2IT_CLUSTER=local"):
        find_target()


def test_slurm_asked_for_where_there_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("D2IT_CLUSTER", "slurm")
    with pytest.raises(StageError, match="sbatch"):
        find_target()
