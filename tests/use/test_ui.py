"""The page without a browser: what it offers for each kind of model, and what stops it before it is served."""

import socket
import sys
from typing import Any

import pytest

from d2it.use.command import main
from d2it.use.ui import page
from tests.use.untrained import untrained


def components(factors: list[int], classes: int = 4, size: int | list[int] = 64) -> dict[str, dict[str, Any]]:
    """Settings of the page's components, by their names in it or else by their labels."""
    found = [part["props"] for part in page(untrained(factors, classes, size)).get_config_file()["components"]]
    return {str(props.get("elem_id") or props.get("label")): props for props in found}


def test_a_model_with_two_grains_has_two_brushes_and_a_fine_ratio() -> None:
    parts = components([8, 16])
    assert parts["map"]["props"]["names"] == ["coarse", "fine"]
    assert parts["tokens"]["props"]["tokens"] == [1, 5]
    assert [value for _, value in parts["detail"]["choices"]] == ["model", "ratio", "photo", "painted"]
    assert parts["ratio"]["visible"]
    assert parts["class"]["visible"]


def test_a_model_with_three_grains_has_three_brushes_and_no_fine_ratio() -> None:
    parts = components([8, 16, 32])
    assert parts["map"]["props"]["names"] == ["coarse", "middle", "fine"]
    assert [value for _, value in parts["detail"]["choices"]] == ["model", "photo", "painted"]
    assert not parts["ratio"]["visible"]


@pytest.mark.parametrize(("size", "columns", "aspect"), [(64, 4, 1.0), ([64, 96], 6, 1.5), ([96, 64], 4, 2 / 3)])
def test_panels_have_the_shape_of_the_images(size: int | list[int], columns: int, aspect: float) -> None:
    parts = components([8, 16], size=size)
    for name in ("map", "tokens"):
        assert parts[name]["props"]["columns"] == columns
    assert {parts[name]["props"]["aspect"] for name in ("map", "image", "tokens", "before")} == {aspect}
    assert len(parts["map"]["value"]) == round(columns**2 / aspect)


def test_a_model_without_classes_asks_for_none_and_has_no_guidance() -> None:
    parts = components([8, 16], classes=0)
    assert not parts["class"]["visible"]
    assert not parts["guidance"]["visible"]


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The line with which the command stops."""
    assert main(["ui", "nowhere", *options]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_a_folder_without_models_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "--port", "0").startswith("nowhere: lacks train_dvae, train_grain, train_content")


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal(capsys, "--port", str(port))
    assert line == f"127.0.0.1:{port}: Address already in use: choose others with --host and --port\n"


@pytest.mark.parametrize("options", [("--port", "70000"), ("--port", "-1"), ("--host", "203.0.113.1")])
def test_where_nobody_can_listen_is_named(capsys: pytest.CaptureFixture[str], options: tuple[str, str]) -> None:
    line = refusal(capsys, *options)
    assert options[1] in line
    assert line.endswith(": choose others with --host and --port\n")


def test_without_gradio_the_line_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # as where it is not installed
    assert refusal(capsys).endswith("is not installed: pip install gradio\n")
