"""What prepared data are, in `data.json`: counts, classes, and the fingerprint by which later stages know them."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from d2it.files import UnreadableFileError, read_json, write_text
from d2it.size import Size


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """A prepared data set."""

    train: int  # images
    validation: int
    classes: list[str]  # name of each label; empty when there are no classes
    labels: str  # `data.labels`
    image_size: Size  # pixels; in the file one number for a square
    fingerprint: str  # sha256 of all pixels and labels; empty until all of them are written
    train_names: list[str] = field(default_factory=list)  # first and last file, where images are files
    validation_names: list[str] = field(default_factory=list)
    unlabelled: int = 0  # validation images without a label, damaged ones among them
    left_out: dict[str, int] = field(default_factory=dict)  # files by reason
    damaged: int = 0  # images that could not be read and were left out; the other counts are without them


def write_description(folder: Path, description: DataDescription) -> None:
    """Write data.json."""
    content = asdict(description) | {"image_size": description.image_size.plain}
    write_text(folder / "data.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_description(folder: Path) -> DataDescription:
    """data.json of the stage `prepare`'s folder.

    Raises:
        UnreadableFileError: it is missing, damaged, or of another version.
    """
    path = folder / "data.json"
    content = read_json(path)
    names = {field.name for field in fields(DataDescription)}
    if content.keys() != names:
        raise UnreadableFileError(
            f"{path}: keys {', '.join(content)}: must be {', '.join(sorted(names))}; run dvc repro"
        )
    try:
        return DataDescription(**content | {"image_size": Size.of(content["image_size"])})
    except ValueError as error:
        raise UnreadableFileError(f"{path}: image_size = {error}") from None
