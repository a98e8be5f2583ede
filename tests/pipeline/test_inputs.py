"""Inputs that are not what dvc.lock records end a stage before it computes."""

from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.inputs import verify_inputs
from pipeline.key import content_md5

DAG = """stages:
  prepare: {cmd: x, params: [seed], outs: [outputs/prepare/data, outputs/prepare/train]}
  fid: {cmd: y, deps: [outputs/prepare/data, outputs/prepare/train], outs: [outputs/fid/numbers]}
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "prepare"
    (folder / "train").mkdir(parents=True)
    (folder / "data").write_bytes(b"data")
    (folder / "train" / "shard").write_bytes(bytes(1000))
    (tmp_path / "dvc.yaml").write_text(DAG)
    outs = "".join(
        f"    - path: {path}\n      md5: {content_md5(Path(path))}\n"
        for path in ("outputs/prepare/data", "outputs/prepare/train")
    )
    (tmp_path / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  prepare:\n    cmd: x\n    outs:\n{outs}")
    return tmp_path


def test_inputs_as_recorded_pass(workspace: Path) -> None:
    verify_inputs("fid")
    verify_inputs("prepare")


@pytest.mark.parametrize("path", ["data", "train/shard"])
def test_a_flipped_bit_is_one_line_that_names_the_input_and_the_way_out(workspace: Path, path: str) -> None:
    file = workspace / "outputs" / "prepare" / path
    content = bytearray(file.read_bytes())
    content[1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StageError, match=rf"^outputs/prepare/{path[:4]}\S*: is not what dvc.lock records") as error:
        verify_inputs("fid")
    assert "dvc checkout" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_input_is_named(workspace: Path) -> None:
    (workspace / "outputs" / "prepare" / "data").unlink()
    with pytest.raises(StageError, match="outputs/prepare/data"):
        verify_inputs("fid")


def test_without_a_record_nothing_is_refused(workspace: Path) -> None:
    (workspace / "dvc.lock").unlink()
    (workspace / "outputs" / "prepare" / "data").write_text("other")
    verify_inputs("fid")
