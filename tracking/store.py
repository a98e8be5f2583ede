"""The MLflow store: its address, opening it from many processes at once, and looking up runs in it."""

import logging
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.lock import locked as file_lock
from tracking import views
from tracking.database import PREFIX, artifacts, database_of, follow, inode, make, own_database
from tracking.journal import Journal, Record, now
from tracking.numbers import distance_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Point = tuple[str, float, int, int]  # name, value, ms since 1970, step

BATCH = 1000  # metrics per request, MLflow's limit
PARAMS_BATCH = 100  # params per request, likewise
CREDENTIALS = re.compile(r"://[^/@\s]+@")
EXPERIMENT = "d2it"
USER = "mlflow.user"  # tag: whoever began a run
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens with runs, not with GenAI
LONGEST = 200  # characters of an error
REMEDIES = {
    "Invalid Host header": "that server has to be started with --allowed-hosts '{host}'",
    "out-of-date database schema": "another version of MLflow made it: use that version, or `mlflow db upgrade`",
    "file is not a database": "move {file} away, and a new one is made",
    "malformed": "move {file} away, and a new one is made",
    "database is locked": "another program holds it",
}  # by a part of MLflow's message


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, or SQLite in `.d2it/` of the repository at `root`. May hold a password."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{PREFIX}{own_database(root)}"


def split_credentials(uri: str) -> tuple[str, str | None, str | None]:
    """A URI without its user and password, the user, and the password."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # no address at all, which MLflow is to say
        return CREDENTIALS.sub("://", uri), None, None
    if "@" not in parts.netloc:
        return uri, None, None
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    clean = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return clean, unquote(user), unquote(password)


def redacted(text: str, uri: str) -> str:
    """`text` on one line, without the middle if it is long, and without the user and password of any address."""
    password = split_credentials(uri)[2]
    for secret in (password, os.environ.get("MLFLOW_TRACKING_PASSWORD"), os.environ.get("MLFLOW_TRACKING_TOKEN")):
        text = text.replace(secret, "***") if secret else text
    text = " ".join(CREDENTIALS.sub("://***@", text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"  # causes come last


def error_line(error: Exception, uri: str) -> str:
    """An exception of the store at `uri` as one line, without passwords, and with what to do where that is known."""
    text = f"{type(error).__name__}: {error}".partition("[SQL: ")[0]  # a statement says nothing to a user
    host = split_credentials(uri)[0].partition("://")[2].partition("/")[0]
    remedies = [remedy.format(host=host, file=database_of(uri)) for part, remedy in REMEDIES.items() if part in text]
    return "; ".join([redacted(text, uri), *remedies[:1]])


def print_warning(line: str) -> None:
    """One line on stderr."""
    print(f"tracking: {line}", file=sys.stderr, flush=True)


@contextmanager
def locked(root: Path, seconds: float = 120.0) -> Iterator[None]:
    """Hold the lock under which the repository's processes look up runs and create them.

    Raises:
        StageError: another process has held it for `seconds`.
    """
    path = root / ".d2it" / "mlflow.lock"
    with file_lock(path, seconds=seconds, refusal=f"{path} has been locked for {seconds:.0f} s"):
        yield


def quiet_mlflow() -> None:
    """To be called before the first import of mlflow: no telemetry, no messages or tracebacks, and short time-outs."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    import mlflow  # noqa: F401  # sets its own log levels, which the next lines change

    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3"):  # what they log they raise too: it becomes one line
        logging.getLogger(name).setLevel(logging.CRITICAL)


def client_of(uri: str) -> "MlflowClient":
    """A client of the store at `uri`; user and password go out of the address, where no message can show them."""
    quiet_mlflow()
    from mlflow import MlflowClient

    if uri.startswith("http"):
        uri, user, password = split_credentials(uri)
        if user:
            os.environ["MLFLOW_TRACKING_USERNAME"] = user
            os.environ["MLFLOW_TRACKING_PASSWORD"] = password or ""
    return MlflowClient(uri)


class Store:
    """A connection to MLflow. Only `connect` makes one."""

    def __init__(self, root: Path, client: "MlflowClient", experiment_id: str) -> None:
        self.root = root
        self.client = client
        self.experiment_id = experiment_id
        self._database = database_of(tracking_uri(root))
        self._inode = inode(self._database)

    def lost(self) -> bool:
        """Whether its database was deleted since; only another `connect` makes it again."""
        return inode(self._database) != self._inode

    @classmethod
    def connect(cls, root: Path) -> "Store":
        """Open the store; on first use create its tables and the experiment, one process at a time."""
        uri = tracking_uri(root)
        database = database_of(uri)
        quiet_mlflow()
        with locked(root):
            if database:  # a connection that is kept would go on with a database that was deleted
                os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
                make(database)
            client = client_of(uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                # A server knows best where artifacts go; a database fixes it now, so it must not depend on the folder.
                location = None if uri.startswith("http") else artifacts(root)
                tags = KIND | {views.TAG + views.OVERVIEW.name: views.OVERVIEW.state()}
                return cls(root, client, client.create_experiment(EXPERIMENT, artifact_location=location, tags=tags))
            if database == own_database(root) and (line := follow(database, experiment, artifacts(root))):
                print_warning(line)
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            return cls(root, client, experiment.experiment_id)

    def newest(self, condition: str) -> "Run | None":
        """The run that started last among those that match."""
        runs = self.client.search_runs(
            [self.experiment_id], condition, order_by=["attributes.start_time DESC"], max_results=1
        )
        return runs[0] if runs else None

    def parents(self) -> "list[Run]":
        """The parent runs of all experiments."""
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], "tags.`d2it.identity` != ''", page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def parent(self, parent: Record) -> "Run":
        """The parent run of an experiment, created if need be, with its params and tags.

        Its first number is the distance, NaN until it is measured: MLflow's pages list numbers in the order in which
        they came, and the one behind the button Compare opens with the first.
        """
        run = self.newest(f"tags.`d2it.identity` = '{parent['identity']}'")
        if run is None:
            tags = parent["tags"] | {"d2it.identity": parent["identity"]}
            run = self.client.create_run(self.experiment_id, run_name=parent["name"], tags=tags)
            self.log(run.info.run_id, [(distance_name(parent["params"]), math.nan, 0, 0)])  # older than any number
        known = run.data.tags
        changed = {key: value for key, value in parent["tags"].items() if known.get(key) != value}
        self._add_tags(run, {key: value for key, value in changed.items() if key != USER or key not in known})
        self._add_params(run, {key: value for key, value in parent["params"].items() if key not in run.data.params})
        return self.client.get_run(run.info.run_id)

    def child(self, header: Record, journal: Journal, parent_id: str) -> "Run":
        """The run of this journal; else the unfinished one of the same stage, key and parent; else a new one."""
        identity, stage, key = header["parent"]["identity"], header["stage"], header["key"]
        own = self.newest(f"tags.`d2it.journal` = '{journal.name}'")
        if own is not None:
            return own
        same = f"tags.`d2it.parent` = '{identity}' and tags.`d2it.stage` = '{stage}' and tags.`d2it.key` = '{key}'"
        unfinished = self.newest(f"{same} and attributes.status != 'FINISHED'")
        # A run whose journal still exists goes on elsewhere, or has points yet to be sent.
        if unfinished and not journal.path.with_name(f"{unfinished.data.tags['d2it.journal']}.jsonl").exists():
            self.client.set_tag(unfinished.info.run_id, "d2it.journal", journal.name)
            return unfinished
        tags = {
            "mlflow.parentRunId": parent_id, "d2it.parent": identity, "d2it.stage": stage, "d2it.key": key,
            "d2it.journal": journal.name, "mlflow.source.name": f"stages/{stage}.py",
        }  # fmt: skip
        return self.client.create_run(
            self.experiment_id, start_time=header["time"], run_name=stage, tags=header["parent"]["tags"] | tags
        )

    def log(self, run_id: str, points: Iterable[Point]) -> None:
        """Send points of curves, in order."""
        from mlflow.entities import Metric

        metrics = [Metric(*point) for point in points]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def log_finals(self, run_id: str, numbers: Mapping[str, float], time: int, known: Mapping[str, float]) -> None:
        """Send final numbers, but for those that are `known` to be there."""
        new = {name: value for name, value in numbers.items() if known.get(name) != value}
        self.log(run_id, [(name, value, time, 0) for name, value in new.items()])

    def keep(self, view: views.View) -> None:
        """Store a view of the page of experiments, which its address then opens."""
        self.client.set_experiment_tag(self.experiment_id, views.TAG + view.name, view.state())

    def sum_hours(self, parent_id: str) -> None:
        """`gpu_hours` and `cpu_hours` of a parent: the sum over its stages, shared ones included."""
        metrics = self.client.get_run(parent_id).data.metrics
        for total in ("gpu_hours", "cpu_hours"):
            hours = [value for name, value in metrics.items() if name.endswith(f".{total}")]
            self.log_finals(parent_id, {total: sum(hours)} if hours else {}, now(), metrics)

    def _add_tags(self, run: "Run", tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_tag(run.info.run_id, key, value)

    def _add_params(self, run: "Run", params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        pairs = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(pairs), PARAMS_BATCH):
            self.client.log_batch(run.info.run_id, params=pairs[start : start + PARAMS_BATCH])
