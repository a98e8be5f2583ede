"""What a running stage tells MLflow, and never waits for.

`Tracker` writes curves and pictures to a journal on disk; a background thread imports MLflow, finds the run and sends
them in batches. MLflow may be slow, locked, or away for days: the journal keeps everything until it is sent, by this
process, by a later stage, or by

    python -m tracking sync

`python -m tracking ui` opens the store in a browser's reach, on 127.0.0.1.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2it.params import Params
from pipeline.errors import StageError
from pipeline.git import uncommitted
from pipeline.key import content_md5
from pipeline.root import find_root
from tracking import journal as journals
from tracking.allocation import Placement
from tracking.cached import keys_here, settle
from tracking.delivery import Delivery
from tracking.experiment import Parent, data_fingerprint
from tracking.journal import Journal
from tracking.store import Store, quiet_mlflow, redacted, split_credentials, tracking_uri
from tracking.system import Watch
from tracking.views import OVERVIEW

INTERVAL = 5.0  # seconds between two batches
LONGEST_PAUSE = 60.0  # seconds between two tries while MLflow is away
PATIENCE = 30.0  # seconds that the end of a stage waits for MLflow


def _say(line: str) -> None:
    print(f"tracking: {line}", file=sys.stderr, flush=True)


class Tracker:
    """One run of one stage, as MLflow will see it. A context manager; nothing it does fails or delays the stage."""

    def __init__(self, stage: str, root: Path, params: Params, journal: Journal | None, gpus: int) -> None:
        self._stage = stage
        self._root = root
        self._params = params
        self._journal = journal
        self._closing = threading.Event()
        self._sent = False
        self._silent: set[str] = set()
        self._on_term: Any = None
        self._watch = Watch(gpus, lambda numbers: self._append("system", {"numbers": numbers}))
        self._thread = threading.Thread(target=self._send, name="tracking", daemon=True)

    @classmethod
    def open(cls, *, stage: str, key: str, params: Params, root: Path) -> "Tracker":
        """Start, or go on with, the run of `stage` with `key` in the experiment that this process belongs to.

        Args:
            stage: the stage's name.
            key: hash of the stage's params and inputs.
            params: all params of the experiment.
            root: the repository's real root, also when this process runs in a temporary copy.
        """
        parent = Parent.here(params)
        header = {"stage": stage, "key": key, "parent": parent.record()}
        placement = Placement.here()
        journal = None
        try:
            journal = Journal.open(root, f"{stage}-{key[:16]}-{parent.identity[:8]}", header)
            journal.append("start", placement.record())
        except OSError as error:
            _say(f"this run is not recorded: {error}")
        return cls(stage, root, params, journal, placement.gpus_here)

    def report(
        self, step: int, numbers: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]] | None = None
    ) -> None:
        """Record a point of each curve, and pictures.

        Args:
            step: images seen so far, >= 0.
            numbers: values of the curves at this step.
            pictures: uint8 (H, W, 3).

        Raises:
            ValueError: a picture has another type or shape.
        """
        self._append("point", {"step": int(step), "numbers": _floats(numbers)})
        for name, picture in (pictures or {}).items():
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise ValueError(f"picture {name!r}: {picture.dtype} {picture.shape}, must be uint8 (H, W, 3)")
            try:
                if self._journal:
                    self._journal.append_picture(int(step), name, picture)
            except OSError as error:
                self._say_once(f"a picture is not recorded: {error}")

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Record the stage's final numbers, `<stage>.<metric>`, on its run and on the parent, and what it has made."""
        weights = sorted(Path("outputs", self._stage).glob("*.safetensors"))
        try:
            tags = {f"dvc.md5.{path.name}": content_md5(path) for path in weights}  # as dvc.lock is going to record it
        except OSError as error:
            tags = {}
            _say(f"hashes of weights are not recorded: {error}")
        self._append("final", {"numbers": _floats(metrics), "tags": tags})
        self._note_data()  # now there, if this was `prepare`

    def __enter__(self) -> "Tracker":
        if self._journal:
            self._thread.start()
            self._watch.start()
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._on_term = signal.signal(signal.SIGTERM, _exit_on_term)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_term is not None:
            signal.signal(signal.SIGTERM, self._on_term)
        if self._journal:
            self._watch.stop()
        self._append("end", {"status": _status(error)})
        self._closing.set()
        if not self._journal:
            return
        self._thread.join(PATIENCE)
        if not self._sent:
            _say("MLflow does not have all of this run yet; the next stage sends the rest, or: "
                 "python -m tracking sync")  # fmt: skip
        if not self._thread.is_alive():
            self._journal.close()

    def _append(self, kind: str, record: journals.Record) -> None:
        if self._journal:
            try:
                self._journal.append(kind, record)
            except OSError as error:
                self._say_once(f"a point is not recorded: {error}")

    def _note_data(self) -> None:
        fingerprint = data_fingerprint()
        if fingerprint:
            self._append("parent", {"tags": {"data.fingerprint": fingerprint}, "keys": {}})

    def _note_origin(self) -> None:
        try:
            diff, keys = uncommitted(), keys_here(self._params)
        except Exception as error:
            self._say_once(f"where this run comes from is not recorded: {error}")
            return
        if diff:
            self._append("diff", {"text": diff})
        self._append("parent", {"tags": {}, "keys": {name: key for name, key in keys.items() if name != self._stage}})

    def _say_once(self, line: str) -> None:
        if line not in self._silent:
            self._silent.add(line)
            _say(line)

    def _send(self) -> None:
        """The thread: send what is new, wait, again; one last time when the stage has ended."""
        assert self._journal is not None
        self._note_data()
        self._note_origin()
        delivery, pause, others = None, INTERVAL, True
        while not self._sent:
            last_time = self._closing.is_set()
            try:
                self._journal.beat()
                delivery = delivery or Delivery(Store.connect(self._root), self._journal)
                if delivery.send():
                    self._journal.delete()
                    self._sent = True
                    settle(delivery.store)
                pause = INTERVAL
                if others:
                    others = False
                    sync(self._root)
            except Exception as error:
                delivery, pause = None, min(2 * pause, LONGEST_PAUSE)
                self._say_once(f"MLflow: {_reason(error, self._root)}; the stage goes on")
            if last_time:
                return
            self._closing.wait(pause)


def _floats(numbers: Mapping[str, float]) -> dict[str, float]:
    return {journals.clean(name): float(value) for name, value in numbers.items()}


def _exit_on_term(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _status(error: BaseException | None) -> str:
    """How a run ended, in MLflow's words."""
    if error is None:
        return "FINISHED"
    by_signal = isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128
    return "KILLED" if by_signal or isinstance(error, KeyboardInterrupt) else "FAILED"


def _reason(error: Exception, root: Path) -> str:
    return redacted(f"{type(error).__name__}: {error}", tracking_uri(root))


def sync(root: Path) -> int:
    """Send the journals that stages left behind; returns how many runs were completed.

    Raises:
        Exception: whatever MLflow raises when it is away; all that is not sent stays in the journals.
    """
    store, done, failure = None, 0, None
    for journal in journals.left_behind(root, os.uname().nodename):
        store = store or Store.connect(root)
        try:
            if Delivery(store, journal).send():
                journal.delete()
                done += 1
        except Exception as error:  # one journal that MLflow refuses does not hold up the others
            failure = error
    if failure:
        raise failure
    return done


def ui_command(host: str, port: int) -> list[str]:
    """The command that serves the store which `ui_environment` names; no password is in it, where `ps` shows it."""
    return [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--host", host, "--port", str(port)]


def ui_environment(root: Path) -> dict[str, str]:
    """Variables for `ui_command`: the store of the repository at `root`."""
    quiet_mlflow()
    idle = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven idle processes, for GenAI only
    return idle | os.environ | {"MLFLOW_BACKEND_STORE_URI": tracking_uri(root)}


def main(arguments: list[str] | None = None) -> int:
    """`python -m tracking sync|ui`."""
    parser = argparse.ArgumentParser(prog="python -m tracking", description="The MLflow store of this project.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="send what stages could not send, and link what DVC took from its cache")
    ui = commands.add_parser("ui", help="serve the store, on 127.0.0.1 unless asked otherwise")
    ui.add_argument("--host", default="127.0.0.1")
    ui.add_argument("--port", type=int, default=5000)
    chosen = parser.parse_args(arguments)
    try:
        root = find_root()
    except StageError as error:
        _say(str(error))
        return 1
    os.chdir(root)
    began = time.monotonic()
    try:
        done, store = sync(root), Store.connect(root)  # a fresh store gets its tables here, not in a worker
        linked = settle(store)
        store.keep(OVERVIEW)
    except Exception as error:
        _say(f"MLflow: {_reason(error, root)}; nothing is lost, try again later")
        return 1
    print(f"{done} runs sent, {linked} experiments linked in {time.monotonic() - began:.1f} s", flush=True)
    if chosen.command == "ui":
        uri = tracking_uri(root)
        if uri.startswith("http"):
            server = split_credentials(uri)[0].rstrip("/")
            print(f"The store is a server: open {OVERVIEW.address(server, store.experiment_id)}")
            return 0
        address = OVERVIEW.address(f"http://{chosen.host}:{chosen.port}", store.experiment_id)
        print(f"Open {address} (Ctrl-C ends it)", flush=True)
        command = ui_command(chosen.host, chosen.port)
        os.execve(command[0], command, ui_environment(root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
