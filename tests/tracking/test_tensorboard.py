"""What `python -m tracking export tensorboard` writes, read back by a reader that shares no code with the writer."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2it.params.sections import Params
from tests.tracking.event_files import Events, read_events
from tests.tracking.mlflow_store import runs, tracker
from tracking.__main__ import main
from tracking.store import Store

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)


def _stage(root: Path, params: Params, key: str = "a" * 64) -> None:
    with tracker(root, params, key=key) as run_:
        for step in (64, 128):
            run_.report(step, {"loss": 1 / step}, {"samples": PICTURE})
        run_.finish({"psnr": 20.5})


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _events(folder: Path) -> Events:
    (path,) = folder.glob("*")
    assert path.name.startswith("events.out.tfevents.")
    return read_events(path)


def test_curves_pictures_and_params_come_back_with_their_steps_and_times(root: Path, params: Params) -> None:
    _stage(root, params)
    assert main(["export", "tensorboard", "events"]) == 0
    (run,) = runs(root, "train_dvae")
    events = _events(root / "events" / "workspace" / "train_dvae")
    client = Store.connect(root).client
    history = client.get_metric_history(run.info.run_id, "loss")
    read = events.scalars["loss"]
    assert [(time, step) for time, step, _ in read] == [(point.timestamp / 1000, point.step) for point in history]
    np.testing.assert_allclose([value for *_, value in read], [1 / 64, 1 / 128], rtol=1e-6)
    assert events.scalars["train_dvae.psnr"][0][2] == 20.5
    images = events.images["pictures/samples"]
    assert [step for _, step, _ in images] == [64, 128]
    for time, _, file in images:
        assert run.info.start_time / 1000 <= time <= run.info.end_time / 1000
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), PICTURE)

    (parent_file,) = (root / "events" / "workspace").glob("events*")
    parent = read_events(parent_file)
    assert parent.scalars["train_dvae.psnr"][0][2] == 20.5
    assert any(b"refinenet.window" in content for content in parent.plugins)


def test_a_second_export_writes_only_what_is_new_and_leaves_no_parts(
    root: Path, params: Params, capfd: pytest.CaptureFixture[str]
) -> None:
    _stage(root, params)
    assert main(["export", "tensorboard", "events"]) == 0
    first = _files(root / "events")
    assert main(["export", "tensorboard", "events"]) == 0
    assert "2 runs in" in capfd.readouterr().out
    assert _files(root / "events") == first
    _stage(root, params, key="b" * 64)
    assert main(["export", "tensorboard", "events"]) == 0
    assert "3 runs in" in capfd.readouterr().out
    second = _files(root / "events")
    assert {name for name in first if name.startswith("workspace/train_dvae/")} <= second.keys()
    assert len(second) == 3
    assert all("tfevents" in name for name in second)


def test_a_folder_that_cannot_be_written_is_one_line(
    root: Path, params: Params, capfd: pytest.CaptureFixture[str]
) -> None:
    _stage(root, params)
    (root / "events").write_text("a file")
    assert main(["export", "tensorboard", "events"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "events" in line
