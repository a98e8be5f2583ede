"""Views of MLflow's page of experiments: a link that opens it with chosen columns, rows and plots.

MLflow hides all columns of params and metrics until a user chooses them. Its button 'Share' writes a tag of the
experiment that holds the state of the page; the same is written here. The state's form is MLflow 3.17's; tests/browser
checks the page that results.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TAG = "mlflow.sharedViewState."
PICTURES = "pictures/"  # before a picture's name: a section of a run's page, which MLflow puts above the curves
SAMPLES = f"{PICTURES}samples"
TRAINING = "workflowType=machine_learning"  # without it MLflow shows its pages for GenAI
PIXELS = 7  # per letter of a column's head
DISTANCES = ("fid.fid", "fid.fd_efficientnet_lite0")  # the second in the demo, which downloads no Inception


def run_page(server: str, experiment_id: str, run_id: str) -> str:
    """Address of a run's page; of one on the same server without `server`."""
    page = f"#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"
    return f"{server}/{page}" if server else page


@dataclass(frozen=True, kw_only=True)
class View:
    """What the page shows."""

    name: str  # in its link
    params: tuple[str, ...]
    metrics: tuple[str, ...]  # the first orders the rows, the lowest on top
    run_ids: tuple[str, ...] = ()  # parent runs; empty: all
    first: int = 1  # metrics on the left of the params
    plotted: tuple[str, ...] = ()  # metrics drawn against the params, as parallel coordinates and as bars; then samples

    def state(self) -> str:
        """The page's state, JSON."""
        metrics = [f"metrics.`{name}`" for name in self.metrics]
        params = [f"params.`{name}`" for name in self.params]
        columns = [*metrics[: self.first], *params, *metrics[self.first :]]
        quoted = ", ".join(f"'{run_id}'" for run_id in self.run_ids)
        state: dict[str, Any] = {
            "searchFilter": f"attributes.run_id IN ({quoted})" if self.run_ids else "",
            "orderByKey": f"metrics.`{self.metrics[0]}`" if self.run_ids else "attributes.start_time",
            "orderByAsc": bool(self.run_ids),
            "selectedColumns": columns,
            "columnOrder": columns,
            "columnWidths": {column: 40 + PIXELS * len(column.split("`")[1]) for column in columns},
        }
        if self.plotted:
            state |= {"compareRunSections": [SECTION], "compareRunCharts": self._charts(), "hideEmptyCharts": False}
            state["runsHiddenMode"] = "SHOW_ALL"  # else only the first ten are drawn
        return json.dumps(state, separators=(",", ":"))

    def _charts(self) -> list[dict[str, Any]]:
        parallel: dict[str, Any] = {
            "type": "PARALLEL", "selectedParams": self.params, "selectedMetrics": self.plotted, "showAllRuns": False,
        }  # fmt: skip
        bars: list[dict[str, Any]] = [{"type": "BAR", "metricKey": name, "displayName": name} for name in self.plotted]
        samples: dict[str, Any] = {"type": "IMAGE", "imageKeys": [SAMPLES], "step": 0, "showRunParams": True}
        common: dict[str, Any] = {
            "metricSectionId": SECTION["uuid"], "runsCountToCompare": 100, "deleted": False, "isGenerated": False,
        }  # fmt: skip
        return [common | chart | {"uuid": f"d2it-{n}"} for n, chart in enumerate([parallel, *bars, samples])]

    def address(self, server: str, experiment_id: str) -> str:
        """Of the page; `server` without a slash at its end."""
        page = f"{server}/#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey={self.name}"
        return f"{page}&compareRunsMode=CHART" if self.plotted else page


SECTION = {"uuid": "d2it", "name": "Comparison", "display": True, "isReordered": False, "deleted": False,
           "isGenerated": False, "columns": 1}  # fmt: skip
OVERVIEW = View(
    name="numbers",
    params=(
        "grain.fine_ratio", "dvae.regularizer", "refinenet.layers", "refinenet.window", "sample.grain_source", "seed",
    ),
    metrics=(
        *DISTANCES, "fid.rfid", "fid.rfd_efficientnet_lite0", "train_dvae.psnr",
        "train_content.parameters", "train_content.multiply_adds", "train_content.images_per_second", "gpu_hours",
        "cpu_hours",
    ),
    first=len(DISTANCES),
)  # fmt: skip


def comparison(name: str, params: Sequence[str], metrics: Sequence[str], run_ids: Sequence[str]) -> View:
    """A view of some experiments: the params in which they differ, and their metrics drawn against these."""
    return View(
        name=name, params=tuple(params), metrics=tuple(metrics), run_ids=tuple(run_ids), plotted=tuple(metrics[:1]),
    )  # fmt: skip
