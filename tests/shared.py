"""Repositories in which stages have run: made once in a session, by whichever of its processes asks first."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.smallest import Repository


def made_once(sessions: Path, name: str, make: Callable[[Path], object]) -> Repository:
    """The repository of this name in a folder that all processes of the session share; tests take copies of it."""
    folder, done = sessions / name, sessions / f"{name}.done"
    with FileLock(sessions / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process in which it failed
            make(folder)
            done.touch()
    return Repository(folder)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Of all processes of the session: pytest-xdist gives each a folder of its own below it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


@pytest.fixture(scope="session")
def finished(shared_folder: Path) -> Repository:
    """A repository in which `dvc repro` has run all stages from nothing, committed. Take a copy."""

    def make(folder: Path) -> None:
        repository = Repository.make(folder)
        repository.dvc("repro")
        repository.commit()

    return made_once(shared_folder, "finished", make)
