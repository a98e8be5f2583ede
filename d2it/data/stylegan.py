"""Images whose classes stand in a `dataset.json` beside them, as StyleGAN's and EDM's `dataset_tool.py` writes.

    {"labels": [["00000/img00000000.png", 6], ["00000/img00000001.png", 9]]}

The numbers are the classes then, and folders mean nothing: they hold a thousand images each. `null` in place of the
list stands for no classes. Names start at the file's own folder. A `dataset.json` without "labels" is none of these.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from d2it.data.files import OTHER, ImageFiles
from d2it.data.imageset import DataError
from d2it.data.labelled import Labelled, Rules, by_number, lay_out
from d2it.data.layout import NO_LABEL, Layout

NAME = "dataset.json"
LIMIT = 1 << 31  # of a label
MUST = 'must be {"labels": [[name, number], ...]} or {"labels": null}'


class List(NamedTuple):
    """A `dataset.json`."""

    name: str
    labels: Any  # whatever stands there


def read_list(files: ImageFiles) -> List | None:
    """The `dataset.json` that lies in or above the folders of all images; None if there is none.

    Raises:
        DataError: it is no JSON.
    """
    for name in files.left_out.get(OTHER, []):
        folder, _, file = name.rpartition("/")
        if file == NAME and all(image.startswith(f"{folder}/" if folder else "") for image in files.names):
            try:
                content: Any = json.loads(files.read(name))
            except (OSError, ValueError) as error:
                raise DataError(f"{name}: cannot be read ({' '.join(str(error).split())}): {MUST}") from None
            if isinstance(content, dict) and "labels" in content:
                return List(name, content["labels"])
    return None


def open_stylegan(files: ImageFiles, listed: List, rules: Rules) -> tuple[ImageFiles, Layout]:
    """The images of a folder or archive, sorted by name, with the labels of `listed`.

    Raises:
        DataError: the list cannot be understood, or has no entry for an image.
    """
    number_of, folder = _numbers(listed), listed.name.removesuffix(NAME)
    if number_of is None:
        labels = [NO_LABEL] * len(files.names)
    else:
        missing = next((name for name in files.names if name.removeprefix(folder) not in number_of), None)
        if missing:
            raise DataError(f"{missing}: no entry in {listed.name}: add one, or remove the image")
        labels = [number_of[name.removeprefix(folder)] for name in files.names]
    numbers, classes = by_number(np.array(labels, np.int64))
    images = Labelled(names=files.names, halves=[""] * len(labels), labels=numbers, classes=classes)
    others = [name for name in files.left_out[OTHER] if name != listed.name]
    left_out = {reason: names for reason, names in (files.left_out | {OTHER: others}).items() if names}
    return ImageFiles(files.names, left_out, files.read), lay_out(
        images, rules, _remarks(files, number_of, listed.name)
    )


def _numbers(listed: List) -> dict[str, int] | None:
    """Label of each name; None where there are no classes."""
    if listed.labels is None:
        return None
    try:
        numbers = {str(name).replace("\\", "/"): number for name, number in dict(listed.labels).items()}
    except (ValueError, TypeError):
        raise DataError(f"{listed.name}: labels cannot be understood: {MUST}") from None
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < LIMIT:
            raise DataError(f"{listed.name}: {name}: label {number}: {MUST}, with whole numbers from 0 to {LIMIT - 1}")
    return numbers


def _remarks(files: ImageFiles, number_of: dict[str, int] | None, listed: str) -> list[str]:
    if number_of is None:
        return [f"{listed} has no labels: all images are of one class"]
    folder = listed.removesuffix(NAME)
    absent = sorted(number_of.keys() - {name.removeprefix(folder) for name in files.names})
    return [f"{listed}: {len(absent)} entries have no image: {absent[0]}"] if absent else []
