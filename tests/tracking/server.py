"""A real MLflow server process."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tracking.__main__ import ui_command, ui_environment


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """MLflow's server over the store of the repository at `root`, as `python -m tracking ui` starts it."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.uri = f"http://127.0.0.1:{port}"
        self.log = root / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [*ui_command("127.0.0.1", self.port), "--artifacts-destination", str(self.root / "served")]
        environment = ui_environment(self.root)
        environment["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{self.root / '.d2it' / 'mlflow.db'}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.root, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + 300
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and its workers."""
        if self._process is None:
            return
        os.killpg(self._process.pid, number)
        self._process.wait(30)
        self._process = None

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
        except OSError:
            return False
        return True
