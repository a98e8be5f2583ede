"""How many images and classes a params file's data set has, without preparing it."""

from pathlib import Path
from typing import NamedTuple

from d2it.data.imageset import DataError
from d2it.data.sources import open_source
from d2it.params.sections import DataParams


class DataSize(NamedTuple):
    """What costs depend on of a data set."""

    train: int  # images
    validation: int
    classes: int  # 0: none


IMAGENET = DataSize(1_281_167, 50_000, 1000)


def data_size(data: DataParams, root: Path) -> tuple[DataSize, str]:
    """Counted, where the images are at hand, else ImageNet's; and in words which of both it is."""
    try:
        source = open_source(data, root)
    except DataError:
        return IMAGENET, f"ImageNet's, as data.source = {data.source} is not at hand"
    return DataSize(len(source.train), len(source.validation), len(source.classes)), f"data.source = {data.source}"
