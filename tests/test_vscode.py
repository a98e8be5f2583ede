"""What .vscode/launch.json starts is there, and runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.stage import NAMES
from tests.smallest import Repository
from tools.deps import ROOT

LAUNCH = json.loads((ROOT / ".vscode" / "launch.json").read_text(encoding="utf-8"))
STAGE, TESTS, SAMPLE = LAUNCH["configurations"]
ONE_FILE = "tests/test_yaml.py"  # fast, and none of those that start others


def launch(configuration: dict[str, Any], folder: Path) -> str:
    """Run it as the editor would, without the debugger; its output."""
    chosen = {"${input:stage}": "prepare", "${file}": str(ROOT / ONE_FILE)}
    arguments = [chosen.get(argument, argument) for argument in configuration["args"]]
    assert configuration["cwd"] == "${workspaceFolder}"
    dropped = ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [sys.executable, "-m", configuration["module"], *arguments], cwd=folder, capture_output=True, text=True,
        env=environment | {"OMP_NUM_THREADS": "1"} | configuration.get("env", {}), timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def repository(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return finished.copy(tmp_path_factory.mktemp("vscode") / "repository")


@pytest.mark.slow
def test_a_stage_runs_in_the_very_process_that_is_debugged(repository: Repository) -> None:
    jobs = sorted((repository.folder / ".d2it" / "logs").iterdir())
    launch(STAGE, repository.folder)
    assert sorted((repository.folder / ".d2it" / "logs").iterdir()) == jobs
    assert repository.git("status", "--porcelain") == ""


def test_every_stage_can_be_chosen() -> None:
    (chosen,) = LAUNCH["inputs"]
    assert chosen["options"] == list(NAMES)
    assert chosen["default"] in NAMES


@pytest.mark.slow
def test_the_tests_of_the_open_file_run_in_one_process() -> None:
    assert " passed in " in launch(TESTS, ROOT)


@pytest.mark.slow
def test_images_are_drawn_with_what_was_trained(repository: Repository) -> None:
    launch(SAMPLE, repository.folder)
    assert [path.name for path in (repository.folder / "reports" / "drawn").iterdir()] == ["class0-seed0.png"]
