"""What goes wrong with MLflow is one line, with the remedy where there is one: no tracebacks, no floods of logs."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from d2it.params.sections import Params
from tests.tracking.mlflow_store import tracker
from tests.tracking.server import free_port
from tools.deps import ROOT
from tracking.__main__ import main
from tracking.store import error_line


def _change(statement: str, database: Path) -> None:
    with closing(sqlite3.connect(database)) as store, store:
        store.execute(statement)


def _break(trouble: str, database: Path) -> None:
    match trouble:
        case "other file":
            database.write_bytes(b"not a database" * 1000)
        case "cut":
            database.write_bytes(database.read_bytes()[:20_000])
        case "other version":
            _change("UPDATE alembic_version SET version_num = 'ffffffffffff'", database)
        case "a table is missing":
            _change("DROP TABLE runs", database)


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("other file", "file is not a database; move {root}/.d2it/mlflow.db away, and a new one is made"),
        ("cut", "database disk image is malformed; move {root}/.d2it/mlflow.db away, and a new one is made"),
        ("other version", "another version of MLflow made it: use that version, or `mlflow db upgrade`"),
        ("a table is missing", "no such column: runs."),
    ],
)
def test_a_database_that_is_damaged_or_of_another_version_is_one_line(
    root: Path, params: Params, trouble: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _break(trouble, root / ".d2it" / "mlflow.db")
    assert main(["sync"]) == 1
    (shown,) = "".join(capfd.readouterr()).splitlines()
    assert line.format(root=root) in shown
    with tracker(root, params) as run_:
        run_.finish({"psnr": 20.0})
    (shown, left) = "".join(capfd.readouterr()).splitlines()
    assert line.format(root=root) in shown
    assert "python -m tracking sync" in left


def test_no_address_at_all_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@[bad")
    assert main(["sync"]) == 1
    (line,) = "".join(capfd.readouterr()).splitlines()
    assert "Invalid IPv6 URL" in line
    assert "s3cret" not in line


def test_the_cause_at_the_end_of_a_long_message_is_shown_and_no_sql() -> None:
    assert error_line(OSError("x" * 1000 + " [Errno 111] Connection refused"), "").endswith("Connection refused")
    assert error_line(OSError("no such table: runs\n[SQL: SELECT a]"), "") == "OSError: no such table: runs"


def test_a_port_that_is_taken_and_a_host_that_is_not_ours_are_one_line(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        f"tracking: 127.0.0.1:{port} cannot be served: Address already in use; choose another --port or --host"
    )
    assert main(["ui", "--port", "70000"]) == 1
    assert main(["ui", "--host", "no.such.host.invalid"]) == 1
    assert len(capfd.readouterr().err.splitlines()) == 2


@pytest.mark.slow
def test_the_ui_ends_on_ctrl_c_without_a_traceback(root: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tracking", "ui", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 90
        while not _answers(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert "Traceback" not in output
    assert len(output.splitlines()) < 6


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True
