"""What a folder of trained models holds: architecture, training, sizes, and what was measured."""

from pathlib import Path
from typing import Any

from d2it.files import read_json
from d2it.saved import WEIGHTS
from d2it.use.hub import local_folder
from d2it.use.model import PARTS, load
from d2it.use.settings import settings_of

CURVE = "curve.csv"
MEASURED = {"train_dvae": ("psnr",), "sample": ("images",), "fid": ()}  # stages, and what to show; () for all


def describe_folder(folder: Path) -> list[tuple[str, str]]:
    """Names and values, in the order in which they matter.

    Raises:
        UserError: the folder holds no trained D²iT.
    """
    folder = local_folder(folder)
    model = load(folder, "cpu")
    classes = model.class_names or ["none"]
    rows = [
        ("images", f"{model.image_size} pixels"),
        ("classes", f"{model.content.no_class}: {', '.join(classes[:12])}{', ...' if len(classes) > 12 else ''}"),
        ("grains", f"{model.grain.grains}, of {', '.join(map(str, model.dvae.factors[::-1]))} pixels per code"),
        ("training set", f"fingerprint {model.dvae.data[:12]}"),
        ("objective", model.objective),
    ]
    for stage, part in zip(PARTS, (model.dvae, model.grain, model.content), strict=True):
        size = (folder / stage / WEIGHTS).stat().st_size
        numbers = sum(p.numel() for p in part.parameters())
        rows.append((type(part).__name__, f"{numbers / 1e6:.2f} M parameters, {size / 1e6:.1f} MB"))
    for stage in PARTS:
        curve = folder / stage / CURVE
        if curve.exists():
            rows.append((f"{stage}, images", f"{float(curve.read_text().splitlines()[-1].split(',')[0]):,.0f}"))
    settings = settings_of(folder, model.objective)
    rows.append(("sampling", f"{settings.sampler}, {settings.steps} steps, guidance {settings.guidance:g}"))
    for stage, names in MEASURED.items():
        rows += [(f"{stage}, {name}", f"{value:.4g}") for name, value in _metrics(folder / stage, names).items()]
    return rows


def _metrics(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    path = folder / "metrics.json"
    if not path.exists():
        return {}
    return {name: value for name, value in read_json(path).items() if not names or name in names}
