"""What the store of a repository holds, and stages that write into it."""

import os
import subprocess
import sys
from pathlib import Path

from mlflow.entities import Run

from d2it.params.sections import Params
from tools.deps import ROOT
from tracking.journal import folder
from tracking.store import Store
from tracking.tracker import Tracker


def tracker(root: Path, params: Params, stage: str = "train_dvae", key: str = "a" * 64) -> Tracker:
    return Tracker.open(stage=stage, key=key, params=params, root=root)


def runs(root: Path, stage: str | None = None) -> list[Run]:
    """All runs of a stage, or all parents, oldest first."""
    store = Store.connect(root)
    stored = store.client.search_runs([store.experiment_id], order_by=["attributes.start_time ASC"])
    return [run for run in stored if run.data.tags.get("d2it.stage") == stage]


def curve(root: Path, run: Run, name: str = "loss") -> list[tuple[int, float]]:
    history = Store.connect(root).client.get_metric_history(run.info.run_id, name)
    return [(metric.step, metric.value) for metric in history]


def pictures(root: Path, run: Run) -> list[str]:
    files = Store.connect(root).client.list_artifacts(run.info.run_id, "images")
    return [file.path for file in files if file.path.endswith(".png")]


def pending(root: Path) -> list[str]:
    """Names of the journals on disk."""
    return [path.name for path in folder(root).iterdir()]


_STAGE = """
import os, signal, sys, time
from pathlib import Path
from d2it.params.load import load_params
from tracking.tracker import Tracker
params, root = load_params(Path(sys.argv[5])), Path(sys.argv[1])
with Tracker.open(stage=sys.argv[2], key="a" * 64, params=params, root=root) as tracker:
    for step in range(300):
        tracker.report(step, {"loss": float(step)})
        time.sleep(float(sys.argv[4]))
    if sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def stage_process(root: Path, stage: str, end: str = "live", pause: float = 0.0) -> "subprocess.Popen[str]":
    """A process that reports 300 points, `pause` seconds apart, and then ends well (`live`) or is killed (`die`)."""
    command = [sys.executable, "-c", _STAGE, str(root), stage, end, str(pause), str(ROOT / "params.yaml")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=root, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
