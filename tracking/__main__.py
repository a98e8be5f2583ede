"""`python -m tracking sync|ui|export`: complete the MLflow store, serve it, and export it."""

import argparse
import os
import socket
import sys
import time
from pathlib import Path

from pipeline.errors import StageError
from pipeline.root import find_root
from tracking.cached import link_cached
from tracking.store import Store, error_line, print_warning, quiet_mlflow, split_credentials, tracking_uri
from tracking.tracker import sync
from tracking.views import OVERVIEW


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 without a repository, an MLflow that answers, or a free port; all commands send and link."""
    parser = argparse.ArgumentParser(prog="python -m tracking", description="The MLflow store of this project.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="send what stages could not send, and link what DVC took from its cache")
    ui = commands.add_parser("ui", help="serve the store, on 127.0.0.1 unless another host is given")
    ui.add_argument("--host", default="127.0.0.1")
    ui.add_argument("--port", type=int, default=5000)
    export = commands.add_parser("export", help="write all runs as files of another program")
    export.add_argument("format", choices=["tensorboard"])
    export.add_argument("folder", type=Path, help="of the files; runs that are there are brought up to date")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder.absolute() if chosen.command == "export" else None
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
    if folder:
        return _export(root, store, folder)
    return _serve(root, store, chosen.host, chosen.port) if chosen.command == "ui" else 0


def _export(root: Path, store: Store, folder: Path) -> int:
    from tracking.tensorboard import export  # half a minute where PyTorch is not in memory yet

    try:
        runs, written = export(store, folder)
    except Exception as error:
        print_warning(f"{folder}: {error_line(error, tracking_uri(root))}; what was written is whole, try again later")
        return 1
    print(f"{runs} runs in {folder}, {written} new or changed; to look: tensorboard --logdir {folder}", flush=True)
    return 0


def _serve(root: Path, store: Store, host: str, port: int) -> int:
    """Become MLflow's server, or return: 0 where the store is on a server already, 1 where nothing can listen."""
    uri = tracking_uri(root)
    if uri.startswith("http"):
        server = split_credentials(uri)[0].rstrip("/")
        print(f"The store is a server: open {OVERVIEW.address(server, store.experiment_id)}")
        return 0
    trouble = _refused(host, port)
    if not trouble:
        print(f"Open {OVERVIEW.address(f'http://{host}:{port}', store.experiment_id)} (Ctrl-C ends it)", flush=True)
        command = ui_command(host, port)
        os.execve(command[0], command, names_of(host, port) | ui_environment(root))
    print_warning(f"{host}:{port} cannot be served: {trouble}; choose another --port or --host")
    return 1


def _refused(host: str, port: int) -> str:
    """Why no server can listen there; empty if one can."""
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def names_of(host: str, port: int) -> dict[str, str]:
    """Variables by which MLflow's server answers under the name that it was given, which it refuses otherwise."""
    if not any(letter.isalpha() for letter in host) or host == "localhost":
        return {}  # the addresses that MLflow allows
    names = [host, f"{host}:{port}", "localhost:*", "127.0.0.1:*"]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(names),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{host}:{port}",
    }


def ui_command(host: str, port: int) -> list[str]:
    """The command that serves the store which `ui_environment` names; no password is in it, where `ps` shows it."""
    # uvicorn logs each request, and 45 lines on Ctrl-C.
    server = ["--workers", "1", "--host", host, "--port", str(port), "--uvicorn-opts", "--log-level critical"]
    return [sys.executable, "-m", "mlflow", "ui", *server]


def ui_environment(root: Path) -> dict[str, str]:
    """Variables for `ui_command`: the store of the repository at `root`."""
    quiet_mlflow()
    defaults = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven idle processes, for GenAI only
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors go to the page: here they would be tracebacks
        "PYTHONWARNINGS": "ignore",
    }
    return defaults | os.environ | {"MLFLOW_BACKEND_STORE_URI": tracking_uri(root)}


if __name__ == "__main__":
    sys.exit(main())
