"""The key of a stage: the same for the same content, another for another, and nothing else matters."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from d2it.yaml import read_yaml
from pipeline.errors import StageError
from pipeline.key import content_md5, stage_key
from pipeline.root import find_root

ROOT = Path(__file__).parents[2]
DAG = """
stages:
  prepare:
    cmd: python -m slurm prepare
    params: [seed, data, grain.factors]
    deps: [code, one.py]
    outs: [outputs/prepare/shards]
  fid:
    cmd: python -m slurm fid
    params: [fid]
    deps: [one.py, outputs/prepare/shards]
    metrics: [outputs/fid/metrics.json: {cache: false}]
"""
LOCK = """
schema: '2.0'
stages:
  prepare:
    cmd: x
    deps: [{path: one.py, hash: md5, md5: 0000}]
    outs: [{path: outputs/prepare/shards, hash: md5, md5: %s}]
"""
Tree = dict[str, bytes]
TREES = st.dictionaries(
    st.sampled_from(["a", "b", "a.py", "c/a", "c/d/e", "c0", "Z"]), st.binary(max_size=3), min_size=1
)


def write(folder: Path, tree: Tree) -> None:
    for path, content in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "workspace"
    write(folder, {"dvc.yaml": DAG.encode(), "code/a.py": b"a", "code/sub/b.py": b"b", "one.py": b"1"})
    write(folder, {"outputs/prepare/shards/x.npy": b"shard", "params.yaml": (ROOT / "params.yaml").read_bytes()})
    monkeypatch.chdir(folder)
    return folder


def set_param(workspace: Path, section: str, key: str, value: object) -> None:
    values = read_yaml((workspace / "params.yaml").read_text())
    values[section][key] = value
    YAML().dump(values, workspace / "params.yaml")


def test_a_copy_elsewhere_with_other_times_and_comments_has_the_same_key(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [stage_key("prepare"), stage_key("fid")]
    assert all(len(key) == 64 and int(key, 16) >= 0 for key in keys)
    shutil.copytree(workspace, tmp_path / "copy", copy_function=shutil.copyfile)
    monkeypatch.chdir(tmp_path / "copy")
    os.utime("one.py", (1, 1))
    with Path("params.yaml").open("a") as file:
        file.write("# a comment\n")
    assert [stage_key("prepare"), stage_key("fid")] == keys


@pytest.mark.parametrize(
    ("path", "content", "changed"),
    [
        ("one.py", "2", {"prepare", "fid"}),
        ("code/sub/b.py", "c", {"prepare"}),
        ("code/new.py", "", {"prepare"}),
        ("other.py", "", set()),
        ("code/__pycache__/a.cpython-311.pyc", "x", set()),
        ("code/a.pyc", "x", set()),
        ("outputs/prepare/shards/x.npy", "other", {"fid"}),
        ("dvc.yaml", DAG.replace("-m slurm fid", "-m slurm fid -v"), {"fid"}),
    ],
)
def test_the_key_follows_the_inputs_and_the_command_and_nothing_else(
    workspace: Path, path: str, content: str, changed: set[str]
) -> None:
    before = {name: stage_key(name) for name in ("prepare", "fid")}
    write(workspace, {path: content.encode()})
    assert {name for name, key in before.items() if stage_key(name) != key} == changed


@pytest.mark.parametrize(
    ("section", "key", "value", "changed"),
    [
        ("fid", "batch_size", 7, {"fid"}),
        ("data", "flip", False, {"prepare"}),
        ("grain", "factors", [8], {"prepare"}),
        ("grain", "bandwidth", 0.02, set()),
        ("dvae", "channels", 64, set()),
        ("grain_transformer", "learning_rate", 1.0e-3, set()),
    ],
)
def test_the_key_follows_the_params_that_dvc_yaml_lists_and_no_others(
    workspace: Path, section: str, key: str, value: object, changed: set[str]
) -> None:
    before = {name: stage_key(name) for name in ("prepare", "fid")}
    set_param(workspace, section, key, value)
    if key == "factors":
        set_param(workspace, "grain", "fine_ratio", [1.0])
    assert {name for name, key in before.items() if stage_key(name) != key} == changed


def test_an_upstream_output_counts_by_what_dvc_lock_records_and_need_not_be_read(workspace: Path) -> None:
    read = stage_key("fid")
    (workspace / "dvc.lock").write_text(LOCK % content_md5(Path("outputs/prepare/shards")))
    shutil.rmtree("outputs")
    assert stage_key("fid") == read
    (workspace / "dvc.lock").write_text(LOCK % "0123.dir")
    assert stage_key("fid") != read


def test_a_dep_that_is_no_output_is_read_whatever_dvc_lock_says_of_it(workspace: Path) -> None:
    read = stage_key("prepare")
    (workspace / "dvc.lock").write_text(LOCK % "0123.dir")
    assert stage_key("prepare") == read


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [("one.py]", "gone.py]", "gone.py: no such file"), ("[fid]", "[fid.x]", "'fid.x' is no key of params.yaml")],
)
def test_what_dvc_yaml_names_must_be_there(workspace: Path, before: str, after: str, message: str) -> None:
    (workspace / "dvc.yaml").write_text(DAG.replace(before, after).replace("[one.py,", "[gone.py,"))
    with pytest.raises(StageError, match=message if "gone" in message else "dvc.yaml: stages.fid"):
        stage_key("fid")


def test_an_unknown_stage_is_an_error_that_lists_the_known_ones(workspace: Path) -> None:
    assert workspace.is_dir()
    with pytest.raises(StageError, match="unknown stage 'gan'; allowed: prepare, fid"):
        stage_key("gan")


@settings(max_examples=40)
@given(TREES, TREES)
def test_folders_hash_alike_exactly_when_names_and_contents_are_alike(one: Tree, two: Tree) -> None:
    if any(f"{path}/".startswith("a/") or f"{path}/".startswith("b/") for path in {*one, *two} - {"a", "b"}):
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "one"), one)
        write(Path(folder, "two"), dict(reversed(two.items())))
        assert (content_md5(Path(folder, "one")) == content_md5(Path(folder, "two"))) == (one == two)


REPOSITORY = """
stages:
  one:
    cmd: python -c "import os, pathlib as p; p.Path('data/s').mkdir(parents=True); [p.Path('data', n).write_text(n)
      for n in ('b.txt', 's/ä', 's0', 'B')]; p.Path(os.environ['DVC_ROOT'], 'seen').write_text(os.getcwd());
      p.Path('file').write_text('x')"
    params: [lr]
    outs: [data, file]
"""


def test_contents_have_dvcs_own_md5_and_dvc_root_is_the_real_repository_in_a_temporary_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write(
        tmp_path, {"dvc.yaml": REPOSITORY.encode(), "params.yaml": b"lr: 1\n", ".gitignore": b"/data\n/file\n/seen\n"}
    )
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    dvc = [sys.executable, "-m", "dvc"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    for name in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{name}_NAME": "t", f"GIT_{name}_EMAIL": "t@t"}
    first = [["git", "init", "-q"], [*dvc, "init", "-q"], ["git", "add", "-A"], [*git, "commit", "-qm", "first"]]
    for step in [*first, [*dvc, "exp", "run", "--temp", "-S", "lr=2", "-q"], [*dvc, "repro", "-q"]]:
        if step[-1] == "-q" and "repro" in step:
            copy = Path((tmp_path / "seen").read_text())  # the stage wrote to the real root through DVC_ROOT ...
        subprocess.run(step, env=environment, check=True, timeout=60, capture_output=True)
    assert copy != tmp_path  # ... from a copy that is gone now
    assert not copy.exists()
    lock = read_yaml(Path("dvc.lock").read_text())
    recorded = {out["path"]: out["md5"] for out in lock["stages"]["one"]["outs"]}
    assert recorded == {path: content_md5(Path(path)) for path in ("data", "file")}


def test_the_root_is_dvcs_else_the_nearest_folder_with_a_dvc_yaml(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(workspace / "code" / "sub")
    assert find_root() == workspace
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert find_root() == tmp_path
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "gone"))
    with pytest.raises(StageError, match="no such folder"):
        find_root()
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"no dvc\.yaml"):
        find_root()
