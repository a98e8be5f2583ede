"""The summary at the end of a run."""

import json
from pathlib import Path

from slurm.summary import summary
from tests.smallest import changed

NUMBERS = {
    "fd_efficientnet_lite0": 31.25, "kid_efficientnet_lite0": 0.14521, "class_agreement_efficientnet_lite0": 0.5,
    "reconstruction_psnr": 19.81, "grain_maps_tv": 0.5,
}  # fmt: skip


def test_it_names_the_numbers_that_matter_the_pictures_that_are_there_and_how_to_see_all(tmp_path: Path) -> None:
    for name in ("fid/metrics.json", "sample/samples.png"):
        (tmp_path / "outputs" / name).parent.mkdir(parents=True)
        (tmp_path / "outputs" / name).write_text(json.dumps(NUMBERS))
    result, pictures, how = summary(changed({}), tmp_path)
    assert result == (
        "result: fd_efficientnet_lite0 31.25, kid_efficientnet_lite0 0.1452, class_agreement_efficientnet_lite0 0.5, "
        "reconstruction_psnr 19.81; all numbers: outputs/fid/metrics.json"
    )
    assert pictures == "pictures: outputs/sample/samples.png"
    assert "uv run python -m tracking ui" in how
    assert "uv run dvc exp apply window-4" in summary(changed({}), tmp_path, "window-4")[1]
