"""Changes of params are checked as DVC would make them, and no file is touched."""

import json
from pathlib import Path

import pytest

from d2it.params.changes import changed_params
from d2it.params.load import ParamsError
from tests.smallest import smallest_params


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(smallest_params()))
    return path


def test_changes_are_made_in_the_params_and_not_in_the_file(file: Path) -> None:
    before = file.read_text()
    params = changed_params(["refinenet.window=full", "sample.guidance_interval=[0.5, 1.0]", "seed=3"], file)
    assert (params.refinenet.window, params.sample.guidance_interval, params.seed) == ("full", [0.5, 1.0], 3)
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("refinenet.windw=8", "unknown key; allowed here: layers, position, tokens, window"),
        ("nothing.window=8", "unknown key; allowed here: content_transformer, data, "),
        ("refinenet.window.side=8", "unknown key; allowed here: no keys"),
        ("+refinenet.windw=8", "unknown key; allowed here: content_transformer, data, "),
        ("refinenet.window", "must be KEY=VALUE"),
        ("refinenet.window=[1", "not YAML: "),
    ],
)
def test_a_change_that_cannot_be_made_is_one_line(file: Path, change: str, why: str) -> None:
    with pytest.raises(ParamsError) as caught:
        changed_params([change], file)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"-S {change}: {why}")


def test_three_wrong_values_are_three_lines(file: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        changed_params(["refinenet.window=0", "sample.steps=none", "dvae.regularizer=vae"], file)
    keys = [line.split(": ")[1].split(" = ")[0] for line in str(caught.value).splitlines()]
    assert sorted(keys) == ["dvae.regularizer", "refinenet.window", "sample.steps"]
