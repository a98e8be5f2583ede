"""A server that asks for user and password: they reach it, and nothing else."""

import base64
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from d2it.params.sections import Params
from tests.tracking.mlflow_store import curve, pending, pictures, runs, stage_process, tracker
from tests.tracking.server import Server
from tracking.__main__ import main

pytestmark = pytest.mark.slow

USER, PASSWORD = "somebody", "s3cret-Passw0rd"
EXPECTED = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def guarded(server: Server) -> Iterator[tuple[int, list[str]]]:
    """A port at which only USER with PASSWORD reaches the server, and the paths that were refused to others."""
    refused: list[str] = []

    class Guard(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            if self.headers.get("Authorization") != EXPECTED:
                refused.append(self.path)
                self.send_error(401)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            request = urllib.request.Request(server.uri + self.path, body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self._answer(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                self._answer(error.code, error.read())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    guard = ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    thread = threading.Thread(target=guard.serve_forever, daemon=True)
    thread.start()
    yield guard.server_port, refused
    guard.shutdown()
    guard.server_close()


def _files_with(root: Path, *secrets: str) -> list[Path]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


def test_user_and_password_in_the_address_reach_the_server_and_no_file_or_line(
    root: Path,
    params: Params,
    server: Server,
    guarded: tuple[int, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    port, refused = guarded
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{PASSWORD}@127.0.0.1:{port}")
    with tracker(root, params) as run_:
        run_.report(1, {"loss": 1.0}, {"grid": np.zeros((8, 8, 3), np.uint8)})
        run_.finish({"psnr": 20.0})
    with stage_process(root, "sample") as process:
        output = process.communicate(timeout=120)
    assert refused == []
    assert pending(root) == []
    assert len(pictures(root, runs(root, "train_dvae")[0])) == 1
    assert len(curve(root, runs(root, "sample")[0])) == 300

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{PASSWORD}x@127.0.0.1:{port}")
    with tracker(root, params, "fid") as run_:  # refused: prints that, and goes on
        run_.finish({"fid": 1.0})
    assert main(["sync"]) == 1
    assert main(["ui"]) == 1
    assert refused
    lines = "".join((*output, *capfd.readouterr()))
    assert "MLflow" in lines
    assert PASSWORD not in lines
    server.stop()  # its log is whole
    assert _files_with(root, PASSWORD, EXPECTED.split()[1]) == []
