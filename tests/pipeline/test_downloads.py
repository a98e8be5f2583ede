import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from d2it.params.load import load_params
from d2it.params.sections import Params
from d2it.weights import DINOV2, EFFICIENTNET_LITE0, INCEPTION, ST_LPIPS_VGG, VGG16, Weights, WeightsError
from pipeline import downloads
from stages.stage import NAMES

ROOT = Path(__file__).parents[2]


def params(extractor: str = "efficientnet_lite0", perceptual: str = "st_lpips", weight: float = 1.0) -> Params:
    demo = load_params(ROOT / "params.yaml")
    fid = demo.fid.model_copy(update={"extractor": extractor})
    dvae = demo.dvae.model_copy(update={"perceptual": perceptual, "perceptual_weight": weight})
    return demo.model_copy(update={"fid": fid, "dvae": dvae})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Inception's file, to be had from this machine; weights are kept in a folder of the test."""
    source = tmp_path / "source.pth"
    source.write_bytes(b"weights")
    weights = Weights("file.pth", source.as_uri(), hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setitem(downloads.EXTRACTORS, "inception", weights)
    monkeypatch.setenv("D2IT_WEIGHTS", str(tmp_path / "weights"))
    return weights


def test_only_the_stages_that_open_weights_need_them() -> None:
    def by_stage(params: Params) -> dict[str, list[object]]:
        return {name: list(files) for name in NAMES if (files := downloads.needed([name], params))}

    assert by_stage(params("inception", "lpips")) == {"train_dvae": [VGG16], "fid": [INCEPTION, VGG16]}
    assert by_stage(params("inception", "lpips", 0.0)) == {"fid": [INCEPTION]}
    assert by_stage(params("dinov2", "st_lpips")) == {"train_dvae": [ST_LPIPS_VGG], "fid": [DINOV2, ST_LPIPS_VGG]}
    files = downloads.needed(NAMES, params("efficientnet_lite0", "lpips"))
    assert files == {VGG16: "train_dvae", EFFICIENTNET_LITE0: "fid"}, "each once, with the first that opens it"


def test_the_demo_downloads_nothing() -> None:
    files = downloads.needed(NAMES, load_params(ROOT / "params.yaml"))
    assert not any(isinstance(file, Weights) for file in files)


def test_the_folder_is_at_the_real_root_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("D2IT_WEIGHTS", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert downloads.weights_folder() == tmp_path / ".d2it" / "weights"
    monkeypatch.setenv("D2IT_WEIGHTS", str(tmp_path / "elsewhere"))
    assert downloads.weights_folder() == tmp_path / "elsewhere"


@pytest.mark.parametrize("stage", NAMES)
def test_what_fid_opens_is_fetched_before_any_stage_that_fid_waits_for(
    tmp_path: Path, here: Weights, stage: str
) -> None:
    downloads.ensure(stage, params("inception"))
    assert (tmp_path / "weights" / here.name).read_bytes() == b"weights"


def test_what_only_an_earlier_stage_opens_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage after which nothing opens weights, in a pipeline without fid."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  sample: {cmd: x, deps: [outputs/late], outs: [outputs/samples]}\n"
        "  train_content: {cmd: x, deps: [outputs/latents], outs: [outputs/late]}\n"
        "  train_dvae: {cmd: x, outs: [outputs/latents]}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D2IT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setitem(downloads.PERCEPTUAL, "lpips", Weights("file.pth", "http://127.0.0.1:9/file.pth", "0" * 64))
    downloads.ensure("train_content", params(perceptual="lpips"))
    with pytest.raises(WeightsError, match="train_dvae needs weights"):
        downloads.ensure("train_dvae", params(perceptual="lpips"))


def test_a_wrong_file_is_refused_with_the_stage_and_the_way_out(tmp_path: Path, here: Weights) -> None:
    downloads.ensure("fid", params("inception"))
    (tmp_path / "weights" / here.name).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"fid needs weights: .*wrong sha256") as error:
        downloads.ensure("prepare", params("inception"))
    text = str(error.value)
    assert "\n" not in text
    assert all(part in text for part in (here.url, here.sha256, "D2IT_WEIGHTS", "fid.extractor=efficientnet_lite0"))


def test_without_a_network_the_first_stage_is_refused_before_it_starts(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    text = (ROOT / "params.yaml").read_text()
    assert "extractor: efficientnet_lite0" in text
    (tmp_path / "params.yaml").write_text(text.replace("extractor: efficientnet_lite0", "extractor: inception"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("D2IT_", "DVC_"))}
    environment = {
        "D2IT_CLUSTER": "local",
        "PYTHONPATH": str(ROOT),
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }
    done = subprocess.run(
        [sys.executable, "-m", "slurm", "prepare"], cwd=tmp_path, env=kept | environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("fid needs weights: https://")
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("dvc.yaml", "params.yaml")] == [".d2it"]
    assert [path.name for path in (tmp_path / ".d2it").rglob("*")] == ["weights"]


def test_the_launchers_side_does_not_import_torch() -> None:
    code = "import sys, pipeline.downloads; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
