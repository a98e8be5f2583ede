"""`python -m tracking sync|ui`: complete the MLflow store, and serve it."""

import argparse
import os
import sys
import time
from pathlib import Path

from pipeline.errors import StageError
from pipeline.root import find_root
from tracking.cached import link_cached
from tracking.store import Store, error_line, quiet_mlflow, split_credentials, tracking_uri
from tracking.tracker import print_warning, sync
from tracking.views import OVERVIEW


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 where there is no repository or MLflow is away; both commands send and link first."""
    parser = argparse.ArgumentParser(prog="python -m tracking", description="The MLflow store of this project.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="send what stages could not send, and link what DVC took from its cache")
    ui = commands.add_parser("ui", help="serve the store, on 127.0.0.1 unless another host is given")
    ui.add_argument("--host", default="127.0.0.1")
    ui.add_argument("--port", type=int, default=5000)
    chosen = parser.parse_args(arguments)
    try:
        root = find_root()
    except StageError as error:
        print_warning(str(error))
        return 1
    os.chdir(root)
    began = time.monotonic()
    try:
        sent, store = sync(root), Store.connect(root)  # a new store gets its tables here, not in a worker of the server
        linked = link_cached(store)
        store.keep(OVERVIEW)
    except Exception as error:
        print_warning(f"MLflow: {error_line(error, tracking_uri(root))}; nothing is lost, try again later")
        return 1
    print(f"{sent} runs sent, {linked} experiments linked in {time.monotonic() - began:.1f} s", flush=True)
    if chosen.command == "ui":
        _serve(root, store, chosen.host, chosen.port)
    return 0


def _serve(root: Path, store: Store, host: str, port: int) -> None:
    """Become MLflow's server; where the store is on a server already, print its address and return."""
    uri = tracking_uri(root)
    if uri.startswith("http"):
        server = split_credentials(uri)[0].rstrip("/")
        print(f"The store is a server: open {OVERVIEW.address(server, store.experiment_id)}")
        return
    print(f"Open {OVERVIEW.address(f'http://{host}:{port}', store.experiment_id)} (Ctrl-C ends it)", flush=True)
    command = ui_command(host, port)
    os.execve(command[0], command, ui_environment(root))


def ui_command(host: str, port: int) -> list[str]:
    """The command that serves the store which `ui_environment` names; no password is in it, where `ps` shows it."""
    return [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--host", host, "--port", str(port)]


def ui_environment(root: Path) -> dict[str, str]:
    """Variables for `ui_command`: the store of the repository at `root`."""
    quiet_mlflow()
    without_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven idle processes, for GenAI only
    return without_jobs | os.environ | {"MLFLOW_BACKEND_STORE_URI": tracking_uri(root)}


if __name__ == "__main__":
    sys.exit(main())
