import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from d2it.params.load import load_params
from d2it.params.sections import FIDParams, Params
from d2it.weights import INCEPTION, VGG16, Weights, WeightsError
from pipeline import downloads
from stages.stage import NAMES

ROOT = Path(__file__).parents[2]


def params(extractor: str, perceptual_weight: float) -> Params:
    demo = load_params(ROOT / "params.yaml")
    fid = FIDParams.model_validate(demo.fid.model_dump() | {"extractor": extractor})
    dvae = demo.dvae.model_copy(update={"perceptual_weight": perceptual_weight})
    return demo.model_copy(update={"fid": fid, "dvae": dvae})


def test_only_the_stages_that_open_weights_need_them_and_the_demo_needs_none() -> None:
    paper = params("inception", 1.0)
    weights = {name: downloads.needed(name, paper) for name in NAMES if downloads.needed(name, paper)}
    assert weights == {"train_dvae": [VGG16], "fid": [INCEPTION]}
    assert not any(downloads.needed(name, load_params(ROOT / "params.yaml")) for name in NAMES)


def test_the_folder_is_at_the_real_root_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("D2IT_WEIGHTS", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert downloads.weights_folder() == tmp_path / ".d2it" / "weights"
    monkeypatch.setenv("D2IT_WEIGHTS", str(tmp_path / "elsewhere"))
    assert downloads.weights_folder() == tmp_path / "elsewhere"


def test_a_missing_file_is_fetched_into_the_folder_and_a_wrong_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = tmp_path / "source.pth", tmp_path / "weights"
    source.write_bytes(b"weights")
    here = Weights("file.pth", source.as_uri(), hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(downloads, "INCEPTION", here)
    monkeypatch.setenv("D2IT_WEIGHTS", str(folder))
    downloads.ensure("sample", params("inception", 0.0))
    assert not folder.exists()
    downloads.ensure("fid", params("inception", 0.0))
    assert (folder / "file.pth").read_bytes() == b"weights"
    (folder / "file.pth").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="wrong sha256"):
        downloads.ensure("fid", params("inception", 0.0))


def test_the_launchers_side_does_not_import_torch() -> None:
    code = "import sys, pipeline.downloads; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
