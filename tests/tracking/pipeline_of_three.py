"""A repository of three stages with prepared images, weights and a picture, as they are when their stages end."""

from pathlib import Path

import numpy as np

from d2it.data.description import DataDescription, write_description
from d2it.params.sections import Params
from d2it.size import Size
from tests.tracking.mlflow_store import tracker

FINGERPRINT = "f00d" * 16
DVC_YAML = """
stages:
  prepare: {cmd: a, outs: [outputs/prepare/train, outputs/prepare/validation]}
  train_dvae: {cmd: a, deps: [outputs/prepare/train], outs: [outputs/train_dvae/weights.safetensors]}
  sample: {cmd: a, deps: [outputs/train_dvae/weights.safetensors]}
artifacts:
  dvae: {path: outputs/train_dvae/weights.safetensors, type: model, desc: Dynamic VAE}
"""
NUMBERS = {
    "prepare": {"validation_images": 380.0},
    "train_dvae": {"psnr": 19.84},
    "sample": {"images": 1008.0},
    "fid": {"fd_efficientnet_lite0": 182.7, "class_agreement_efficientnet_lite0": 0.3125},
}


def lay_out(root: Path) -> None:
    """dvc.yaml, and what the stages have written."""
    (root / "dvc.yaml").write_text(DVC_YAML)
    description = DataDescription(
        train=1518, validation=380, classes=["a", "b"], labels="folder", image_size=Size.of(64), fingerprint=FINGERPRINT
    )
    write_description(root / "outputs" / "prepare", description)
    weights = root / "outputs" / "train_dvae"
    weights.mkdir(parents=True)
    (weights / "weights.safetensors").write_bytes(b"weights")
    (weights / "config.json").write_text('{"architecture": {"channels": 16, "factors": [8, 16]}}')


def run_stage(root: Path, params: Params, name: str) -> None:
    """A stage's run, with a picture and its final numbers."""
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    with tracker(root, params, name, key=name.ljust(64, "0")) as run_:
        run_.report(0, {}, {"samples": picture})
        run_.finish(NUMBERS[name])
