"""An exported folder stands alone: it draws the same images, holds no pickle, and says what it is."""

from pathlib import Path

import numpy as np
import pytest

import d2it
from d2it.use.command import main
from tests.smallest import Repository


def test_an_exported_folder_draws_the_same_images_far_from_its_workspace(finished: Repository, tmp_path: Path) -> None:
    outputs, target = finished.folder / "outputs", tmp_path / "elsewhere" / "published"
    assert main(["export", str(outputs), str(target)]) == 0
    ours, theirs = d2it.load(outputs), d2it.load(target)
    assert theirs.settings == ours.settings
    assert theirs.class_names == ours.class_names
    for a, b in zip(ours.sample(progress=False).images, theirs.sample(progress=False).images, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))
    kinds = {path.suffix for path in target.rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json", ".csv", ".yaml", ".png", ".md"}
    assert main(["info", str(target)]) == 0


def test_the_card_says_data_numbers_and_how_to_make_it_again(finished: Repository, tmp_path: Path) -> None:
    main(["export", str(finished.folder / "outputs"), str(tmp_path / "published")])
    card = (tmp_path / "published" / "README.md").read_text(encoding="utf-8")
    commit = finished.git("rev-parse", "HEAD").strip()
    for part in ("48 training and 8 validation images of 32 x 32 pixels", "8 classes: astronaut", "fid, ", commit):
        assert part in card
    assert "share classified as labelled by a linear classifier of training images | 8 samples, 32 train |" in card
    assert "## Licence" in card
    for name in ("samples", "grain_maps", "reconstructions", "beside_real"):
        assert f"({name}.png)" in card
        assert (tmp_path / "published" / f"{name}.png").exists()


@pytest.mark.slow
def test_the_card_names_dvcs_experiment(finished: Repository, tmp_path: Path) -> None:
    repository = finished.copy(tmp_path / "repository")
    repository.dvc("exp", "run", "-n", "fewer-steps", "-S", "sample.steps=2")
    assert main(["export", str(repository.folder / "outputs"), str(tmp_path / "published")]) == 0
    assert "DVC's experiment `fewer-steps`" in (tmp_path / "published" / "README.md").read_text(encoding="utf-8")


def test_a_folder_with_something_in_it_is_left_alone(
    finished: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["export", str(finished.folder / "outputs"), str(tmp_path)]) == 2
    assert "exists, and is no empty folder: must be a new one" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_export_that_is_killed_leaves_nothing_under_its_name(
    finished: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("d2it.use.export.card", kill)
    with pytest.raises(KeyboardInterrupt):
        main(["export", str(finished.folder / "outputs"), str(tmp_path / "published")])
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert main(["export", str(finished.folder / "outputs"), str(tmp_path / "published")]) == 0


def test_pushing_uploads_the_folder_once_it_is_whole(
    finished: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two calls of huggingface_hub that reach the network are cut."""
    import huggingface_hub

    calls: list[tuple[str, object]] = []

    def upload(self: object, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        assert (folder_path / "README.md").exists()
        calls.append((repo_id, commit_message))

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, name, exist_ok: f"hub/{name}")
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    target = tmp_path / "published"
    assert main(["export", str(finished.folder / "outputs"), str(target), "--push", "lab/emoji"]) == 0
    assert calls == [("lab/emoji", "D²iT")]


def test_a_hub_that_cannot_be_reached_is_one_line(
    finished: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    def refuse(self: object, name: str, exist_ok: bool) -> str:
        raise OSError("no\nroute")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    target = tmp_path / "published"
    assert main(["export", str(finished.folder / "outputs"), str(target), "--push", "lab/emoji"]) == 2
    assert capsys.readouterr().err == "lab/emoji: not uploaded: no route\n"
    assert (target / "README.md").exists()
