"""`python -m d2it export`: trained models as one folder that stands alone, with a card that says what they are."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from d2it.errors import UserError
from d2it.saved import CONFIG, WEIGHTS
from d2it.use.card import card
from d2it.use.info import CURVE
from d2it.use.model import PARTS, load
from d2it.use.settings import SETTINGS, Settings

PICTURES = {
    "samples": "sample/samples.png", "grain_maps": "prepare/grain_maps.png",
    "reconstructions": "train_dvae/reconstructions.png", "beside_real": "fid/beside_real.png",
}  # fmt: skip
NUMBERS = ("train_dvae/metrics.json", "sample/metrics.json", "fid/metrics.json", "fid/protocol.json")


class ExportError(UserError):
    """A folder that cannot be exported to; the message is one line."""


def export(folder: Path, target: Path) -> None:
    """Write the models of `folder`, the pipeline's outputs, to `target`, which `d2it.load` reads with nothing else.

    Safetensors and JSON alone; README.md is the card.

    Raises:
        UserError: there are no models, or `target` holds something already.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ExportError(f"{target}: exists, and is no empty folder: must be a new one")
    model = load(folder, "cpu")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as part:
        whole = Path(part) / target.name  # a kill leaves nothing under the target's name
        whole.mkdir()
        _fill(folder, whole, model.settings)
        whole.replace(target)


def _fill(folder: Path, target: Path, settings: Settings) -> None:
    for part in PARTS:
        (target / part).mkdir()
        for name in (WEIGHTS, CONFIG, CURVE):
            if (folder / part / name).exists():
                shutil.copyfile(folder / part / name, target / part / name)
    (target / SETTINGS).write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
    if (folder / "prepare" / "data.json").exists():
        (target / "prepare").mkdir()
        shutil.copyfile(folder / "prepare" / "data.json", target / "prepare" / "data.json")
    for name in NUMBERS:
        if (folder / name).exists():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, target / name)
    params = folder.resolve().parent / "params.yaml"
    if params.exists():
        shutil.copyfile(params, target / "params.yaml")
    pictures = {name: folder / path for name, path in PICTURES.items() if (folder / path).exists()}
    for name, path in pictures.items():
        shutil.copyfile(path, target / f"{name}.png")
    (target / "README.md").write_text(card(folder, target.name, list(pictures)), encoding="utf-8")
