"""`python -m d2it.cost` on the smallest params."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from d2it.cost.__main__ import main
from d2it.cost.data_size import IMAGENET, data_size
from d2it.cost.rate import assumed
from tests.smallest import changed, smallest_params

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path: Path) -> str:
    YAML().dump(smallest_params(), tmp_path / "params.yaml")
    return str(tmp_path / "params.yaml")


def asked(file: str, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, dict[str, float]]:
    """The stages of `--json` by name."""
    assert main([file, "--json", *options]) == 0
    return {one["stage"]: one for one in json.loads(capsys.readouterr().out)["stages"]}


def test_hours_are_operations_over_the_rate_shared_by_the_gpus(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    at_one, at_half = asked(file, capsys, "--rate", "1"), asked(file, capsys, "--rate", "2", "--gpus", "4")
    for stage, one in at_one.items():
        assert one["hours"] == pytest.approx((one["bfloat16"] + one["float32"]) / 1e12 / 3600)
        assert at_half[stage]["hours"] == pytest.approx(one["hours"] / 8)


def test_the_lines_under_the_table_state_rate_share_and_data(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file]) == 0
    hours, images = capsys.readouterr().out.splitlines()[-2:]
    assert hours.startswith("Hours on one GPU, at 396 TFLOP/s in bfloat16 and 27 in float32: 40% of an H100's 989")
    assert images == "Images: 48 for training, 8 for validation, 8 classes: data.source = skimage."
    assert assumed().seconds(bfloat16=0.4 * 989e12, float32=0.4 * 67e12) == pytest.approx(2)


def test_images_that_are_not_at_hand_are_taken_to_be_imagenets(tmp_path: Path) -> None:
    size, words = data_size(changed({"data.source": "data/nowhere"}).data, tmp_path)
    assert size == IMAGENET
    assert words == "ImageNet's, as data.source = data/nowhere is not at hand"


@pytest.mark.parametrize("regularizer", ["kl", "vq"])
def test_a_probe_measures_each_training_here(file: str, capsys: pytest.CaptureFixture[str], regularizer: str) -> None:
    values = smallest_params()
    values["dvae"]["regularizer"] = regularizer
    YAML().dump(values, Path(file))
    stages = asked(file, capsys, "--probe")
    for name in ("dvae", "grain", "content"):
        stage = stages[f"train_{name}"]
        assert stage["micro_batch"] == values["micro_batch"]["dvae" if name == "dvae" else f"{name}_transformer"]
        assert stage["hours"] > 0
        assert stage["images_per_second"] > 0
    assert stages["sample"]["hours"] > 0


def test_a_wrong_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing.yaml")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
