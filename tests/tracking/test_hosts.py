"""A server reached under a name that it was not started with: MLflow refuses, and all who ask it say so."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2it.params.sections import Params
from slurm.doctor.node import CheckError, mlflow
from tests.tracking.mlflow_store import tracker
from tests.tracking.server import Server, free_port
from tracking.__main__ import main, names_of
from tracking.store import error_line

pytestmark = pytest.mark.slow

NAME = "mlflow.example"


@pytest.fixture
def named(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that answers under NAME as `ui --host` starts it, and not under 127.0.0.1, where it is."""
    server = Server(root, free_port())
    allowed = names_of(NAME, server.port)
    allowed["MLFLOW_SERVER_ALLOWED_HOSTS"] = allowed["MLFLOW_SERVER_ALLOWED_HOSTS"].replace(",127.0.0.1:*", "")
    for variable, value in allowed.items():
        monkeypatch.setenv(variable, value)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    yield server
    server.stop()


def _status(port: int, host: str, origin: str) -> int:
    """Of a search, as the page in a browser asks for it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Host": host, "Origin": origin, "Content-Type": "application/json"}
    connection.request("POST", "/ajax-api/2.0/mlflow/runs/search", b'{"experiment_ids": ["0"]}', headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_server_that_refuses_its_name_is_one_line_with_the_remedy_for_stages_sync_and_doctor(
    root: Path, params: Params, named: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    remedy = f"--allowed-hosts '127.0.0.1:{named.port}'"
    with tracker(root, params) as run_:
        run_.finish({"psnr": 20.0})
    first, second = capfd.readouterr().err.splitlines()
    assert "Invalid Host header" in first
    assert remedy in first
    assert "python -m tracking sync" in second
    assert main(["sync"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert remedy in line
    with pytest.raises(CheckError, match=r"Invalid Host header.*--allowed-hosts"):
        mlflow(root, root)


def test_a_server_answers_stages_and_browsers_under_the_name_that_ui_was_given(named: Server) -> None:
    name = f"{NAME}:{named.port}"
    assert _status(named.port, name, f"http://{name}") == 200
    assert _status(named.port, name, "http://elsewhere.example") == 403
    assert _status(named.port, f"elsewhere.example:{named.port}", f"http://{name}") == 403


def test_addresses_need_no_names() -> None:
    assert names_of("127.0.0.1", 5000) == names_of("localhost", 5000) == names_of("0.0.0.0", 5000) == {}
    assert "--allowed-hosts 'gpu1:5000'" in error_line(OSError("403: Invalid Host header"), "http://gpu1:5000/")
