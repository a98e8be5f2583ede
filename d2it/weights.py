"""Files of pretrained weights: which ones, from where, and the check that a file is the right one."""

import argparse
import hashlib
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from d2it.errors import UserError
from d2it.progress import Progress

TIMEOUT_SECONDS = 30.0  # without a byte
CHUNK_BYTES = 1 << 20


class WeightsError(UserError):
    """A file of weights that is missing or cannot be used; the message says which, where it belongs, and its sha256."""


@dataclass(frozen=True)
class Weights:
    """One file of pretrained weights."""

    name: str
    url: str
    sha256: str


# Both names carry the first 8 digits of the sha256, as torch.hub asks.
INCEPTION = Weights(
    name="weights-inception-2015-12-05-6726825d.pth",  # torch-fidelity's port of the network behind FID
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
VGG16 = Weights(
    name="vgg16-397923af.pth",  # torchvision's, for LPIPS
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)


def locate(weights: Weights, folder: Path) -> Path:
    """The file in `folder`, checked.

    Raises:
        WeightsError: it is missing, or has another sha256.
    """
    path = folder / weights.name
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {_by_hand(weights, path)}")
    actual = _sha256(path)
    if actual != weights.sha256:
        raise WeightsError(f"{path}: wrong sha256 {actual}; {_by_hand(weights, path)}")
    return path


def download(weights: Weights, folder: Path) -> Path:
    """Fetch the file into `folder` unless it is there, and check it; the file appears whole or not at all.

    Raises:
        WeightsError: no network, another sha256, or a folder that cannot be written to.
    """
    path = folder / weights.name
    if path.exists():
        return locate(weights, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            part = Path(scratch) / weights.name
            with part.open("wb") as file:
                _fetch(weights, file)
            actual = _sha256(part)
            if actual != weights.sha256:
                raise WeightsError(f"{weights.url}: wrong sha256 {actual}; {_by_hand(weights, path)}")
            part.replace(path)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(f"{weights.url}: cannot download: {reason}; {_by_hand(weights, path)}") from None
    return path


def _fetch(weights: Weights, file: IO[bytes]) -> None:
    with urllib.request.urlopen(weights.url, timeout=TIMEOUT_SECONDS) as response:
        total = int(response.headers.get("Content-Length") or 0)
        with Progress(total >> 20, weights.name, unit="MiB") as progress:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                progress.update(1)


def _by_hand(weights: Weights, path: Path) -> str:
    return f"put {weights.url} at {path.resolve()} (sha256 {weights.sha256})"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """`python -m d2it.weights [folder]`: 0; 1 if one of the files in `folder` is missing or wrong."""
    parser = argparse.ArgumentParser("python -m d2it.weights", description="Lists the pretrained weights in use.")
    parser.add_argument("folder", nargs="?", type=Path, help="check the files in this folder")
    folder, code = parser.parse_args().folder, 0
    for weights in (INCEPTION, VGG16):
        print(f"{weights.name}\n  {weights.url}\n  sha256 {weights.sha256}")
        try:
            if folder:
                print(f"  checked: {locate(weights, folder)}")
        except WeightsError as error:
            print(f"  {error}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
