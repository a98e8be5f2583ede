"""A real SLURM for the tests that need one, and a repository whose training is long enough to be disturbed."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shared import made_once
from tests.slurm.cluster import Cluster, start_cluster
from tests.slurm.repository import Repository as Stages
from tests.slurm.workflow import STAGE, Workflow, prepare
from tests.smallest import Repository

Start = Callable[..., Workflow]


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """The session's cluster; tests take `cluster`."""
    cluster = start_cluster("KillWait=5")
    yield cluster
    cluster.dev.down()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The session's cluster; what a test leaves of jobs and stopped daemons is mended after it."""
    yield shared_cluster
    shared_cluster.mend()


@pytest.fixture(scope="session")
def trained(finished: Repository, shared_folder: Path) -> Repository:
    """A repository in which a long train_content has run on this machine. `Workflow` takes copies."""
    return made_once(shared_folder, "trained", functools.partial(prepare, finished))


@pytest.fixture
def workflow(trained: Repository, cluster: Cluster, tmp_path: Path) -> Start:
    """Makes a copy of that repository whose train_content asks the cluster for the resources given."""

    def make(**resources: Any) -> Workflow:
        return Workflow(tmp_path / "repository", trained.folder, cluster, {STAGE: resources})

    return make


@pytest.fixture(scope="session")
def undisturbed(trained: Repository) -> str:
    """sha256 of the weights of the run on this machine, with one rank."""
    return hashlib.sha256((trained.folder / "outputs" / STAGE / "weights.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def repository(tmp_path: Path) -> Stages:
    """Stages that are scripts of a test."""
    return Stages(tmp_path)
