"""The doctor's checks of a machine that is to run stages: `python -m slurm.doctor.node <folder>`, in a small job."""

import json
import os
import platform
import socket
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from d2it.errors import UserError
from d2it.files import write_text
from d2it.params.load import load_params
from d2it.weights import locate
from pipeline.dag import definitions
from pipeline.downloads import needed, weights_folder
from pipeline.errors import StageError
from pipeline.lock import locked, shared
from tracking.database import database_of
from tracking.store import EXPERIMENT, client_of, error_line, redacted, split_credentials, tracking_uri

ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """The result of one check; of a failure `detail` also explains what to do about it."""

    verdict: Literal["ok", "FAIL", "skip"]
    check: str
    detail: str


@dataclass(frozen=True)
class Order:
    """What to check; in `order.json` of the folder that both sides use."""

    root: str  # the repository's real root
    gpus: int  # requested for the job
    elsewhere: bool  # ordered from another machine


def main(folder: Path) -> None:
    """Run the checks, and leave their findings in `result.json` of `folder`."""
    order = Order(**json.loads((folder / "order.json").read_text(encoding="utf-8")))
    checks: dict[str, Callable[[], str]] = {
        "shared folder": lambda: f"{order.root}/.d2it is read and written",  # as this order and its answer are
        "locks": lambda: locks(folder, order),
        "python": lambda: f"{platform.python_version()}, {sys.executable}",
        "torch": lambda: torch_device(order.gpus),
        "weights": weights,
        "MLflow": lambda: mlflow(folder, Path(order.root)),
    }
    here = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    findings = [examine(f"{name} on {here}", check) for name, check in checks.items()]
    write_text(folder / "result.json", json.dumps([asdict(finding) for finding in findings]))


class CheckError(Exception):
    """A check that has failed; the message explains what is wrong, and what to do."""


class NoCheckError(Exception):
    """A check that cannot be made; the message explains why."""


def examine(name: str, check: Callable[[], str]) -> Finding:
    """Run a check, which returns a detail or raises; the finding is always one line without a password."""
    try:
        return Finding("ok", name, check())
    except NoCheckError as reason:
        return Finding("skip", name, str(reason))
    except Exception as error:
        message = str(error) if isinstance(error, CheckError | UserError) else f"{type(error).__name__}: {error}"
        return Finding("FAIL", name, " ".join(message.split()))


def locks(folder: Path, order: Order) -> str:
    """The ordering side holds a lock, which must hold on this machine too."""
    if not order.elsewhere:
        raise NoCheckError("stages run on this machine")
    try:
        with shared(folder / "waiters"), locked(folder / "own", seconds=0, refusal="held"):
            pass
    except StageError as error:
        raise CheckError(str(error)) from None
    try:
        with locked(folder / "lock", seconds=0, refusal="held"):
            pass
    except StageError:
        return "a lock taken elsewhere holds"
    raise CheckError(f"a lock taken elsewhere does not hold: mount {order.root} so that flock works between machines")


def torch_device(gpus: int) -> str:
    """Version of torch, and a matrix product on the GPU if the job has one."""
    import torch

    if not torch.cuda.is_available():
        if gpus:
            raise CheckError(
                f"torch {torch.__version__} sees no GPU, though the job has one: nvidia-smi shows its driver"
            )
        return f"{torch.__version__} on the CPU"
    ones = torch.ones(64, 64, device="cuda")
    if (ones @ ones)[0, 0].item() != 64:
        raise CheckError("the GPU multiplies wrongly")
    return f"{torch.__version__} on {torch.cuda.device_count()} x {torch.cuda.get_device_name()}"


def weights() -> str:
    """The files of weights that the stages open, checked.

    Raises:
        WeightsError, ParamsError: one is missing or wrong, or params.yaml cannot be used.
    """
    params = load_params()
    files = [locate(one, weights_folder()) for one in needed(definitions(), params)]
    return ", ".join(str(file) for file in files) or "params.yaml needs none"


def mlflow(folder: Path, root: Path) -> str:
    """The store answers, or its database can be written to."""
    uri = tracking_uri(root)
    shown = redacted(split_credentials(uri)[0], uri)
    away = "; without it stages go on, and `python -m tracking sync` sends their curves later"
    if uri.startswith(("http://", "https://")):
        try:
            client_of(uri).get_experiment_by_name(EXPERIMENT)  # what stages ask first
        except Exception as error:
            raise CheckError(f"{shown}: {error_line(error, uri)}{away}") from None
        return f"{shown} answers"
    try:
        database = database_of(uri)
        if database is None:
            raise NoCheckError(f"{shown}: neither a server nor SQLite")
        _try_database(database, folder)
    except (OSError, sqlite3.Error) as error:
        raise CheckError(f"{shown}: {redacted(str(error), uri)}{away}") from None
    return f"{shown} answers"


def _try_database(path: Path, folder: Path) -> None:
    """Take SQLite's write lock, which some shared file systems lack."""
    if not path.exists():
        if path.parent.exists() and not os.access(path.parent, os.W_OK):
            raise PermissionError(f"{path.parent} cannot be written to")
        path = folder / "database"
    with sqlite3.connect(path, timeout=ANSWER_SECONDS, isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
