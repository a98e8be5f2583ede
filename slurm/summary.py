"""What a run of the whole pipeline has led to, in three lines: shown once its last stage has ended well."""

from pathlib import Path

from d2it.files import read_json
from d2it.params.sections import Params
from pipeline.headlines import headlines

PICTURES = ("sample/samples.png", "fid/beside_real.png", "train_dvae/reconstructions.png")


def summary(params: Params, workspace: Path, experiment: str = "") -> list[str]:
    """The numbers that matter most, where pictures are, and how to see all of it.

    `experiment`: its name, where `workspace` is a copy that DVC removes.

    Raises:
        UnreadableFileError: the stage has left no metrics.json.
    """
    numbers = read_json(workspace / "outputs" / "fid" / "metrics.json")
    shown = ", ".join(f"{name} {value:.4g}" for name, value in headlines(numbers, params.fid.extractor).values())
    there = ", ".join(f"outputs/{path}" for path in PICTURES if (workspace / "outputs" / path).exists())
    apply = f"uv run dvc exp apply {experiment}, then " if experiment else ""
    return [
        f"result: {shown}; all numbers: outputs/fid/metrics.json",
        f"pictures: {apply}{there}",
        "curves and pictures of each stage: uv run python -m tracking ui; experiments: uv run python -m ablations show",
    ]
