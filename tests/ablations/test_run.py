"""Real experiments in DVC's queue, at their smallest."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablations import experiments
from ablations.experiments import Queue, State, Task
from ablations.findings import find
from ablations.page import markdown
from ablations.plan import Experiment, plan
from ablations.report import report
from ablations.run import TableProgress, _wait, run_tables
from ablations.tables import read_tables
from tests.smallest import Repository, smallest_params
from tools.deps import ROOT

WINDOW = read_tables()["window"]
ONLY = ("without RefineNet", "2")


@pytest.mark.slow
def test_a_dry_run_prints_the_commands_of_dvc_and_queues_nothing() -> None:
    command = [sys.executable, "-m", "ablations", "run", "window", "--preset", "demo", "--only", "4", "--dry-run"]
    before = experiments.queue(ROOT).tasks
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    commands = [line for line in printed if line.startswith("dvc ")]
    assert [line.partition(" window-4-")[0] for line in commands[:2]] == ["dvc exp run --queue --name"] * 2
    assert commands[0].endswith("-S refinenet.window=4")
    assert commands[-1] == "dvc queue start --jobs 1"
    assert printed[0].startswith("window: 16: left out with preset demo: refinenet.window = 16: must divide")
    assert experiments.queue(ROOT).tasks == before


def test_an_experiment_that_dvc_shows_nowhere_for_a_moment_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between its place among the queued and that among the running, `dvc queue status` shows it in neither."""
    one = next(iter(plan(WINDOW, ROOT, "demo", 1).experiments))
    states: list[State | None] = ["queued", None, "running", None, "failed"]
    looks = iter(states)
    left = list(states)

    def queue(_root: Path) -> Queue:
        state = next(looks)
        left.pop()
        return Queue((Task("0000000", one.name, state),) if state else (), 1)

    monkeypatch.setattr(experiments, "queue", queue)
    monkeypatch.setattr(experiments, "done", lambda _root: {})
    monkeypatch.setattr("ablations.run.SHORTEST", 0.0)
    progress = TableProgress((one,))
    _wait(tmp_path, progress, jobs=1)
    assert left == []
    assert progress.of("failed") == [one.name]


class Ran:
    """A repository in which two settings ran side by side with an experiment whose images are not there."""

    def __init__(self, folder: Path) -> None:
        Repository.make(folder)
        values = smallest_params()
        for preset, source in (("smallest", "data/photos"), ("elsewhere", "data/elsewhere")):
            values["data"] |= {"source": source, "labels": "none"}
            (folder / "presets" / f"{preset}.yaml").write_text(json.dumps(values))
        self.photos = folder / "data" / "photos"
        self.photos.mkdir(parents=True)
        g = np.random.default_rng(0)
        for i in range(64):
            Image.fromarray(g.integers(0, 256, (48, 48, 3), np.uint8)).save(self.photos / f"{i}.png")
        Repository(folder).commit()
        self.folder = folder
        self.good = plan(WINDOW, folder, "smallest", 1)
        self.broken = plan(WINDOW, folder, "elsewhere", 1)
        with contextlib.redirect_stderr(io.StringIO()) as complaints:
            self.code = self.run()
        self.complaints = complaints.getvalue().splitlines()

    def run(self) -> int:
        """`python -m ablations run`, of both presets at once."""
        names = [self.of("smallest", label).name for label in ONLY] + [self.of("elsewhere", "2").name]
        return run_tables([self.good, self.broken], self.folder, jobs=2, only=names)

    def of(self, preset: str, label: str) -> Experiment:
        """An experiment."""
        rows = (self.good if preset == "smallest" else self.broken).rows
        return next(row.experiments[0] for row in rows if row.label == label)

    def jobs(self, stage: str) -> int:
        """How often a stage has been a job."""
        return len(list((self.folder / ".d2it" / "logs").glob(f"{stage}-*/*")))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("D2IT_CLUSTER", "local")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("ablations.run.SHORTEST", 8.0)  # a look takes seconds of a core that the experiments need
        yield Ran(tmp_path_factory.mktemp("ablations"))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_failed_experiment_does_not_stop_the_others(ran: Ran) -> None:
    assert ran.code == 1
    assert sorted(experiments.done(ran.folder)) == sorted(ran.of("smallest", label).name for label in ONLY)
    failed = [task.name for task in experiments.queue(ran.folder).tasks if task.state == "failed"]
    assert failed == [ran.of("elsewhere", "2").name]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_failed_experiment_is_tried_once_more_and_says_why_it_failed(ran: Ran) -> None:
    broken = ran.of("elsewhere", "2").name
    lines = [line for line in ran.complaints if line.startswith(f"failed: {broken}: ")]
    assert [line.endswith("; it is tried once more") for line in lines] == [True, False]
    assert all("data/elsewhere" in line for line in lines), lines


@pytest.mark.slow
@pytest.mark.exhaustive
def test_stages_that_experiments_share_ran_once(ran: Ran) -> None:
    assert (ran.jobs("train_dvae"), ran.jobs("train_grain"), ran.jobs("train_content")) == (1, 1, 2)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_report_has_numbers_links_and_samples_of_what_is_there(ran: Ran) -> None:
    page = report(find(WINDOW, ran.folder, "smallest", 1), ran.folder)
    text = markdown(page)
    assert "2 of 3 experiments done" in text
    assert text.count("(n\u00a0=\u00a01)") == 2
    assert text.count("[MLflow](http://127.0.0.1:5000/#/experiments/") == 2
    assert "viewStateShareKey=window-smallest&compareRunsMode=CHART" in text
    assert "samples-2.png" in text
    assert re.search(r"^\| 4 +\| 1 missing +\|", text, re.MULTILINE)
    assert "1 failed" in markdown(report(find(WINDOW, ran.folder, "elsewhere", 1), ran.folder))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_run_again_runs_the_failed_one_alone_and_then_nothing(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    """Its images turn out to be those of the others: DVC has all that is made of them."""
    shutil.copytree(ran.photos, ran.photos.with_name("elsewhere"))
    before = ran.jobs("prepare")
    assert ran.run() == 0
    assert "3 experiments: 2 exist or are under way, 1 to run" in capsys.readouterr().out
    assert ran.of("elsewhere", "2").name in experiments.done(ran.folder)
    assert ran.jobs("prepare") == before + 1
    assert ran.run() == 0
    assert "3 exist or are under way, 0 to run" in capsys.readouterr().out
    assert ran.jobs("prepare") == before + 1
    assert ran.jobs("train_content") == len(ONLY)
