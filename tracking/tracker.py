"""The tracking of a running stage, which never waits for MLflow.

`Tracker` writes curves and pictures to a journal on disk; a background thread imports MLflow, looks up the run and
sends them in batches. MLflow may be slow, locked, or away for days: the journal keeps everything until it is sent, by
this process, by a later stage, or by `python -m tracking sync`.
"""

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2it.errors import UserError
from d2it.params.sections import Params
from pipeline.git import uncommitted
from tracking import journal as journals
from tracking.allocation import Allocation
from tracking.cached import link_cached, workspace_keys
from tracking.datasets import datasets_of
from tracking.delivery import Delivery
from tracking.experiment import ParentRun, data_fingerprint
from tracking.journal import Journal
from tracking.models import models_of
from tracking.store import Store, error_line, print_warning, tracking_uri
from tracking.system import Watch

INTERVAL = 5.0  # seconds between two batches
LONGEST_PAUSE = 60.0  # seconds between two tries while MLflow is away
PATIENCE = 30.0  # seconds that the end of a stage waits for MLflow
DELETED = "MLflow's database was deleted: a new one is made, and gets all of this run"


class Tracker:
    """One run of one stage, as MLflow will see it. A context manager; nothing it does fails or delays the stage."""

    def __init__(self, *, stage: str, root: Path, params: Params, journal: Journal | None, gpus: int) -> None:
        self._stage = stage
        self._root = root
        self._params = params
        self._journal = journal
        self._closing = threading.Event()
        self._sent = False
        self._warned: set[str] = set()
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
        parent = ParentRun.current(params)
        header = {"stage": stage, "key": key, "parent": parent.record()}
        allocation = Allocation.current()
        journal = None
        try:
            journal = Journal.open(root, f"{stage}-{key[:16]}-{parent.identity[:8]}", header)
            journal.append("start", allocation.record())
        except OSError as error:
            print_warning(f"this run is not recorded: {error}")
        return cls(stage=stage, root=root, params=params, journal=journal, gpus=allocation.gpus_on_node)

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
                self._warn_once(f"a picture is not recorded: {error}")

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Record the stage's final numbers, `<stage>.<metric>`, on its run and on the parent, and hashes of weights."""
        try:
            models = models_of(self._stage)
        except (OSError, UserError) as error:
            models = []
            print_warning(f"hashes of weights are not recorded: {error}")
        tags = {f"dvc.md5.{Path(model['path']).name}": model["md5"] for model in models}
        self._append("final", {"numbers": _floats(metrics), "tags": tags, "models": models})
        self._record_data()  # now there, if this was `prepare`

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
            print_warning("MLflow does not have all of this run yet; the next stage sends the rest, or: "
                 "python -m tracking sync")  # fmt: skip
        if not self._thread.is_alive():
            self._journal.close()

    def _append(self, kind: str, record: journals.Record) -> None:
        if self._journal:
            try:
                self._journal.append(kind, record)
            except OSError as error:
                self._warn_once(f"a point is not recorded: {error}")

    def _record_data(self) -> None:
        fingerprint = data_fingerprint()
        if not fingerprint:
            return
        self._append("parent", {"tags": {"data.fingerprint": fingerprint}, "keys": {}})
        try:
            self._append("data", {"datasets": datasets_of(self._stage, self._params.data)})
        except UserError as error:
            self._warn_once(f"the data are not recorded: {error}")

    def _record_origin(self) -> None:
        try:
            diff, keys = uncommitted(), workspace_keys(self._params)
        except Exception as error:
            self._warn_once(f"where this run comes from is not recorded: {error}")
            return
        if diff:
            self._append("diff", {"text": diff})
        self._append("parent", {"tags": {}, "keys": {name: key for name, key in keys.items() if name != self._stage}})

    def _warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            print_warning(line)

    def _send(self) -> None:
        """The thread: send what is new, wait, again; one last time when the stage has ended."""
        assert self._journal is not None
        self._record_data()
        self._record_origin()
        delivery, pause, others = None, INTERVAL, True
        while not self._sent:
            last_time = self._closing.is_set()
            try:
                self._journal.beat()
                if delivery and delivery.store.lost():
                    delivery = None
                    self._warn_once(DELETED)
                delivery = delivery or Delivery(Store.connect(self._root), self._journal)
                if delivery.send():
                    self._journal.delete()
                    self._sent = True
                    link_cached(delivery.store)
                pause = INTERVAL
                if others:
                    others = False
                    sync(self._root)
            except Exception as error:
                lost = delivery is not None and delivery.store.lost()
                delivery, pause = None, INTERVAL if lost else min(2 * pause, LONGEST_PAUSE)
                line = f"MLflow: {error_line(error, tracking_uri(self._root))}; the stage goes on"
                self._warn_once(DELETED if lost else line)
            if last_time:
                return
            self._closing.wait(pause)


def _floats(numbers: Mapping[str, float]) -> dict[str, float]:
    return {journals.clean(name): float(value) for name, value in numbers.items()}


def _exit_on_term(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _status(error: BaseException | None) -> str:
    """How a run ended, as a status of MLflow."""
    if error is None:
        return "FINISHED"
    by_signal = isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128
    return "KILLED" if by_signal or isinstance(error, KeyboardInterrupt) else "FAILED"


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
        except Exception as error:  # a journal that MLflow refuses must not hold up the others
            failure = error
    if failure:
        raise failure
    return done
