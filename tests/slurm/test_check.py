"""`python -m slurm check` says in seconds what a later stage would refuse."""

import sys
from pathlib import Path

import pytest

from slurm import __main__ as command
from tests.data.test_sources import as_folder, files
from tools.deps import ROOT


def check(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("D2IT_CLUSTER", "local")
    monkeypatch.setattr(sys, "argv", ["slurm", "check", *options])
    return command.main()


def repository(folder: Path, source: str) -> Path:
    """As much of one as the check looks at."""
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    params = (ROOT / "params.yaml").read_text()
    assert "source: twemoji" in params
    (folder / "params.yaml").write_text(params.replace("source: twemoji", f"source: {source}"))
    return folder


def test_a_source_that_all_stages_can_use_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_folder(tmp_path / "photos", files([f"{i % 2}/{i}.png" for i in range(30)]))
    assert check(monkeypatch, repository(tmp_path, "photos")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data.source = photos: train: 24 images of 2 classes (0, 1), 0/0.png ... 1/9.png"
    assert lines[-1] == "resources of 7 stages: as local allows"


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["train/a/1.png", "other/b/2.png"], "looks like a split"),
        ([f"a/{i}.png" for i in range(9)], "2 images: KID needs at least 3"),
        ([], "no such folder, zip or tar"),
    ],
)
def test_what_a_later_stage_would_refuse_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: list[str], line: str
) -> None:
    as_folder(tmp_path / "photos", files(names))
    assert check(monkeypatch, repository(tmp_path, "photos")) == 2
    (error,) = capsys.readouterr().err.splitlines()[-1:]
    assert line in error


def test_a_change_that_dvc_would_make_is_checked_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository(tmp_path, "photos")
    before = (folder / "params.yaml").read_text()
    assert check(monkeypatch, folder, "-S", "refinenet.windw=8", "-S", "refinenet.window=4") == 2
    assert capsys.readouterr().err.splitlines() == [
        "-S refinenet.windw=8: unknown key; allowed here: layers, position, tokens, window"
    ]
    assert (folder / "params.yaml").read_text() == before
