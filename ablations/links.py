"""Where experiments are in MLflow: their parent runs, and the page that compares them. No address holds a password."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ablations.plan import Plan, params_of, varied
from tracking.store import Store, redacted, split_credentials, tracking_uri
from tracking.views import comparison, run_page

MOST = 80  # runs in a view, which MLflow keeps in 5000 characters
LOCAL = "http://127.0.0.1:5000"  # where `python -m tracking ui` serves the store of this repository


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Parent runs by the name of their experiment."""

    address: str
    experiment: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, Mapping[str, float]] = field(default_factory=dict, kw_only=True)  # as MLflow names them
    trouble: str = ""  # why there are none

    def address_of(self, name: str) -> str:
        """Address of an experiment's parent run; empty if MLflow has none."""
        run_id = self.ids.get(name)
        return run_page(self.address, self.experiment, run_id) if run_id else ""


def find_runs(root: Path, names: Iterable[str]) -> Runs:
    """What MLflow has of these experiments. Where it is away or has never been used, none, and why."""
    uri = tracking_uri(root)
    address = split_credentials(uri)[0].rstrip("/") if uri.startswith("http") else LOCAL
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (root / ".d2it" / "mlflow.db").exists():
        return Runs(address=address, trouble="MLflow has no runs of this repository")
    try:
        store = Store.connect(root)
        ids: dict[str, str] = {}
        numbers: dict[str, Mapping[str, float]] = {}
        for name in names:
            run = store.newest(f"tags.`dvc.experiment` = '{name}' and tags.`d2it.identity` != ''")
            if run is not None:
                ids[name] = run.info.run_id
                numbers[name] = run.data.metrics
    except Exception as error:  # a report needs no MLflow
        return Runs(address=address, trouble=f"MLflow: {redacted(f'{type(error).__name__}: {error}', uri)}")
    return Runs(address=address, experiment=store.experiment_id, ids=ids, numbers=numbers)


def keep_comparison(root: Path, chosen: Plan, runs: Runs) -> str:
    """Keep a view of a table's runs in MLflow: one row per run, what differs, and the table's first metric against it.

    Returns its address; empty for fewer than two runs, and where MLflow does not keep the view: a report needs none. Of
    more than MOST runs the first are shown.
    """
    params = set(map(params_of, runs.ids))
    known = [experiment for experiment in chosen.experiments if params_of(experiment.name) in params]
    if len(runs.ids) < 2 or not known:
        return ""
    differ = varied(known)
    name = "-".join(part for part in (chosen.table.name, chosen.preset) if part)
    view = comparison(name, differ, chosen.metric_keys, list(runs.ids.values())[:MOST])
    try:
        Store.connect(root).keep(view)
    except Exception:  # away by now, or not ours to write
        return ""
    return view.address(runs.address, runs.experiment)
