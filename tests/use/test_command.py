"""The command line: files where they were asked for, the API's images, one line for what is wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import d2it
from d2it.use.command import main
from d2it.use.numbers import number_list
from tests.smallest import Repository
from tools.deps import ROOT


def test_sample_writes_every_class_with_every_seed_a_grid_and_a_film(finished: Repository, tmp_path: Path) -> None:
    outputs, out = str(finished.folder / "outputs"), tmp_path / "out"
    options = ["--classes", "0-1,3", "--seeds", "4-5", "--guidance", "2", "--steps", "3", "--out", str(out)]
    pictures = ["--grid", str(tmp_path / "grid.png"), "--film", str(tmp_path / "film.gif")]
    assert main(["sample", outputs, *options, *pictures]) == 0
    names = [f"class{label}-seed{seed}.png" for label in (0, 1, 3) for seed in (4, 5)]
    assert sorted(path.name for path in out.iterdir()) == names
    model = d2it.load(outputs)
    images = model.sample([0, 0, 1, 1, 3, 3], [4, 5] * 3, guidance=2.0, steps=3, progress=False).images
    for name, image in zip(names, images, strict=True):
        assert np.array_equal(np.asarray(Image.open(out / name)), np.asarray(image))
    assert Image.open(tmp_path / "grid.png").width > 4 * 128
    assert getattr(Image.open(tmp_path / "film.gif"), "n_frames", 1) == 3


def test_reconstruct_and_info_show_photos_and_numbers(
    finished: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs, photo = str(finished.folder / "outputs"), tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 50, 3), np.uint8)).save(photo)
    assert main(["reconstruct", outputs, str(photo), str(photo), "--out", str(tmp_path / "kept.png")]) == 0
    assert Image.open(tmp_path / "kept.png").height > 3 * 128
    assert main(["info", outputs]) == 0
    text = capsys.readouterr().out
    for part in ("32 x 32 pixels", "8: astronaut", "of 16, 8 pixels per code", "epsilon", "ddpm, 4 steps", "fid, "):
        assert part in text
    assert "0.08 M parameters" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sample", "nowhere"], "nowhere: lacks train_dvae"),
        (["sample", "{outputs}", "--classes", "99"], "class 99: must be 0 to 7"),
        (["sample", "{outputs}", "--grain-map", "nowhere.png"], "nowhere.png: no image that can be read"),
        (["reconstruct", "{outputs}", "nowhere.jpg"], "nowhere.jpg: no image that can be read"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(
    finished: Repository, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([option.format(outputs=finished.folder / "outputs") for option in options]) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_lists_of_numbers() -> None:
    assert number_list("0-3, 7,7") == [0, 1, 2, 3, 7, 7]
    for wrong in ("", "a", "3-1", "1-", "-2"):
        with pytest.raises(Exception, match="must be numbers such as"):
            number_list(wrong)


def test_help_needs_no_pytorch_and_says_units() -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['d2it', 'sample', '--help']; "
    code += "import d2it.__main__ as m; m.main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "white = fine" in done.stdout
