"""A store in SQLite: made whole, made again where it was deleted, and going along when its repository moves.

MLflow keeps the absolute folder of the artifacts in the database, of the experiment and of each run; a relative one it
would take from each process's current folder. So `follow` writes the folder that the store is in now.
"""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from d2it.files import replacing

if TYPE_CHECKING:
    from mlflow.entities import Experiment

PREFIX = "sqlite:///"
ARTIFACTS = ".d2it/mlartifacts"
BUSY_SECONDS = 20.0  # as long as MLflow waits for another process's transaction
_alembic = threading.Lock()  # which keeps what it works on in variables of its modules


def own_database(root: Path) -> Path:
    """That of the repository at `root`."""
    return root.resolve() / ".d2it" / "mlflow.db"


def artifacts(root: Path) -> str:
    """Where the pictures of the repository's own store are: a `file:` address."""
    return (root.resolve() / ARTIFACTS).as_uri()


def database_of(uri: str) -> Path | None:
    """The file of a store in SQLite; None for another kind."""
    return Path(uri.removeprefix(PREFIX).partition("?")[0]) if uri.startswith(PREFIX) else None


def inode(database: Path | None) -> int | None:
    """What tells a store from another that takes its name; None without one.

    An empty file is none: SQLite makes it when a process goes on with a database that was deleted.
    """
    try:
        status = database.stat() if database else None
    except FileNotFoundError:
        return None
    return status.st_ino if status and status.st_size else None


def make(database: Path) -> None:
    """Create a store whole or not at all, unless there is one.

    MLflow creates its tables one by one: a job that is killed or preempted meanwhile would leave half of them, which
    MLflow can never open again.
    """
    if inode(database):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _alembic, replacing(database) as part:
        for left in part.parent.glob(f"{part.name}*"):  # of a process that was killed here, SQLite's own among them
            left.unlink()
        SqlAlchemyStore(f"{PREFIX}{part}", str(database.with_name("mlartifacts")))  # type: ignore[no-untyped-call]
        for ending in ("-journal", "-wal", "-shm"):  # of the deleted one: SQLite would play them back into this one
            database.with_name(database.name + ending).unlink(missing_ok=True)


def follow(database: Path, experiment: "Experiment", here: str) -> str:
    """Where the repository was moved, renamed or copied, look for its artifacts in `here`, its folder now.

    A folder that somebody has chosen, one that does not end as this project's, stays.

    Returns:
        One line on what was changed; empty if nothing had to be.
    """
    before: str = experiment.artifact_location
    if before == here or not before.endswith(f"/{ARTIFACTS}"):
        return ""
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as store, store:  # both tables or none
        store.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (here, experiment.experiment_id)
        )
        runs = store.execute(
            "UPDATE runs SET artifact_uri = ? || '/' || run_uuid || '/artifacts' WHERE experiment_id = ? "
            "AND artifact_uri LIKE '%/' || ? || '/' || run_uuid || '/artifacts'",
            (here, experiment.experiment_id, ARTIFACTS),
        ).rowcount
    return f"pictures of {runs} runs were looked for in {before}; these and new ones are in {here} from now on"
