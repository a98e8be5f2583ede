"""What a job does around a stage's own work, with the real tracker and a stand-in for the stage."""

import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch

from d2it.errors import UserError
from d2it.params.load import ParamsError
from d2it.ranks.ranks import Ranks
from d2it.ranks.stopping import Stop, Stopped
from pipeline.errors import StageError
from stages.entry import clear, pick_device, run
from stages.stage import NAMES, Stage
from tests.transformer.models import content_transformer

ROOT = Path(__file__).parents[2]
Main = Callable[[Stage], Mapping[str, float]]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace, beside the real root."""
    folder = tmp_path / "copy"
    folder.mkdir()
    (tmp_path / "root").mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "dvc.yaml").write_text(
        "stages:\n  fid:\n    cmd: x\n    params: [fid]\n"
        "    outs: [outputs/fid/reference: {persist: true}, outputs/fid/other]\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return folder


@pytest.fixture
def stage_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[Main], None]:
    """Let `main` be the fid stage."""

    def replace(main: Main) -> None:
        module = ModuleType("stages.fid")
        module.__dict__["main"] = main
        monkeypatch.setitem(sys.modules, "stages.fid", module)
        monkeypatch.setattr("tracking.tracker.PATIENCE", 0.0)  # how tracking ends is tested with it

    return replace


def scratches(workspace: Path) -> list[Path]:
    return list((workspace.parent / "root" / ".d2it" / "scratch").iterdir())


def test_a_stage_gets_its_params_and_folders_and_leaves_its_metrics(
    workspace: Path, stage_is: Callable[[Main], None]
) -> None:
    seen: list[Stage] = []

    def main(stage: Stage) -> Mapping[str, float]:
        seen.append(stage)
        stage.report(10, {"loss": 1.0})
        assert stage.out.is_dir()
        (stage.scratch / "checkpoint").write_text("x")
        return {"b": 2.0, "a": 1.5}

    stage_is(main)
    run("fid")
    (stage,) = seen
    assert (stage.name, stage.ranks, stage.params.fid.neighbours) == ("fid", Ranks(), 3)
    assert stage.out == Path("outputs/fid")
    assert (workspace / "outputs/fid/metrics.json").read_text() == '{\n  "a": 1.5,\n  "b": 2.0\n}\n'
    assert stage.scratch.parent == workspace.parent / "root" / ".d2it" / "scratch"
    assert [stage.scratch] == scratches(workspace)  # whoever takes the result removes it
    assert not (workspace / ".d2it").exists()


def test_outputs_of_an_earlier_run_are_removed_but_for_those_that_persist(
    workspace: Path, stage_is: Callable[[Main], None]
) -> None:
    for name in ("old.npy", "deep/er/old", "reference/statistics.npz"):
        path = workspace / "outputs/fid" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    kept: list[str] = []

    def main(stage: Stage) -> Mapping[str, float]:
        kept.extend(str(path.relative_to(stage.out)) for path in stage.out.rglob("*"))
        return {}

    stage_is(main)
    run("fid")
    assert sorted(kept) == ["reference", "reference/statistics.npz"]


def test_links_are_removed_and_not_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "folder").symlink_to(tmp_path / "cache")
    clear(tmp_path / "out", keep=[])
    assert list((tmp_path / "out").iterdir()) == []
    assert (tmp_path / "cache" / "file").exists()


def test_a_failed_stage_keeps_its_checkpoints_for_the_same_stage_only(
    workspace: Path, stage_is: Callable[[Main], None]
) -> None:
    resumed: list[bool] = []

    def main(stage: Stage) -> Mapping[str, float]:
        resumed.append((stage.scratch / "checkpoint").exists())
        (stage.scratch / "checkpoint").touch()
        if len(resumed) < 3:
            raise RuntimeError("out of memory")
        return {}

    stage_is(main)
    params = (workspace / "params.yaml").read_text()
    with pytest.raises(RuntimeError, match="out of memory"):
        run("fid")
    assert not (workspace / "outputs/fid/metrics.json").exists()
    (workspace / "params.yaml").write_text(params.replace("neighbours: 3", "neighbours: 4"))
    with pytest.raises(RuntimeError, match="out of memory"):
        run("fid")  # another experiment
    (workspace / "params.yaml").write_text(params)
    run("fid")
    assert resumed == [False, False, True]
    assert len(scratches(workspace)) == 2


def test_the_result_is_whole_before_mlflow_is_waited_for_and_no_wish_to_stop_undoes_it(
    workspace: Path, stage_is: Callable[[Main], None]
) -> None:
    stop, seen = Stop(), []

    def on_result() -> None:
        seen.append(json.loads((workspace / "outputs/fid/metrics.json").read_text()))
        stop.ask(signal.SIGTERM)

    stage_is(lambda _: {"good": 1.0})
    run("fid", ranks=Ranks(stop=stop), on_result=on_result)
    assert seen == [{"good": 1.0}]
    assert stop.asked == signal.SIGTERM
    with pytest.raises(Stopped):  # afterwards a wish is heard again
        stop.ask(signal.SIGTERM)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_final_number_that_is_not_finite_is_an_error_that_names_it(
    workspace: Path, stage_is: Callable[[Main], None], value: float
) -> None:
    stage_is(lambda _: {"good": 1.0, "psnr": value})
    with pytest.raises(StageError, match=f"psnr = {value}"):
        run("fid")
    assert list((workspace / "outputs/fid").iterdir()) == []


def test_wrong_params_stop_before_anything_is_touched(workspace: Path, stage_is: Callable[[Main], None]) -> None:
    (workspace / "outputs/fid").mkdir(parents=True)
    (workspace / "outputs/fid/metrics.json").write_text(json.dumps({}))
    (workspace / "params.yaml").write_text("seed: x")
    stage_is(lambda _: {})
    with pytest.raises(ParamsError):
        run("fid")
    assert (workspace / "outputs/fid/metrics.json").exists()
    assert list((workspace.parent / "root").iterdir()) == []


def test_an_unknown_stage_is_an_error_that_lists_the_known_ones(workspace: Path) -> None:
    with pytest.raises(StageError, match="unknown stage 'os'; allowed: prepare, train_dvae"):
        run("os")
    assert not (workspace / "outputs").exists()


def test_only_the_projects_own_value_errors_are_shown_without_a_traceback() -> None:
    assert isinstance(StageError("x"), UserError)
    assert isinstance(ParamsError("x"), UserError)
    assert not isinstance(ValueError("x"), UserError)
    assert not isinstance(UnicodeDecodeError("utf-8", b"", 0, 1, "x"), UserError)
    assert not isinstance(RuntimeError("x"), UserError)


@pytest.mark.parametrize("name", NAMES)
def test_a_stages_module_run_by_hand_prints_what_to_type_instead(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{name}"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "python -m slurm <stage>" in done.stderr


def test_gradients_are_the_same_bytes_on_several_threads() -> None:
    """Without the switch, threads sum the gradients of packed tokens in any order."""
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_num_threads(4)
        pick_device()
        model = content_transformer()
        z, t, y = torch.randn(64, 4, 8, 8), torch.arange(64) * 10, torch.arange(64) % 4
        grain_map = torch.randint(0, 2, (64, 4, 4))
        gradients = []
        for _ in range(6):
            model.zero_grad()
            model(z, t, y, grain_map).square().mean().backward()
            gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        assert all(torch.equal(a, b) for other in gradients[1:] for a, b in zip(gradients[0], other, strict=True))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before)
