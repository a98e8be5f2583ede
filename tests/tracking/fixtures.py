"""Repositories with an empty MLflow store, and a look into it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2it.params.load import load_params
from d2it.params.sections import Params
from tests.tracking.server import Server, free_port
from tools.deps import ROOT
from tracking.database import make

ENVIRONMENT = (
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DVC_EXP_NAME",
    "DVC_EXP_BASELINE_REV", "DVC_ROOT", "SLURM_JOB_ID", "D2IT_GIT_COMMIT",
)  # fmt: skip


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in it: making them takes 3 s."""
    path = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    make(path)  # which keeps other threads of this process, of an earlier test's stage, out of MLflow's migrations
    return path


@pytest.fixture
def root(tmp_path: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without stages, with an empty store; the current folder."""
    (tmp_path / ".d2it").mkdir()
    shutil.copy(fresh_store, tmp_path / ".d2it" / "mlflow.db")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "")  # so that what a test's own code sets is taken back too
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(scope="session")
def params() -> Params:
    """Those of the demo."""
    return load_params(ROOT / "params.yaml")


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    """A real MLflow server for `root`'s store, on 127.0.0.1."""
    server = Server(root, free_port())
    server.start()
    yield server
    server.stop()
