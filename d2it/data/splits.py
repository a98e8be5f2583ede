"""Which images train, which validate, and which class each belongs to: rules on file names alone."""

from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

VALIDATION_FOLDERS = ("validation", "val", "valid", "test")  # the first that exists is taken
NO_FOLDER = "images"  # class of images that lie in no folder of their own


class Split(NamedTuple):
    """File names of a data set, each list sorted."""

    train: list[str]
    validation: list[str]
    unused: list[str]


class Named(NamedTuple):
    """A file name, and its parts below the folder in which `train` and `validation` would be."""

    name: str
    parts: tuple[str, ...]


def split_names(names: list[str], share: float, seed: int) -> Split:
    """Split by top-level folders where there are `train` and a validation folder, else hold out a share.

    The top level is that of the source, or of the one folder that holds everything in it. Held out are
    round(share · N) images, at least one if share > 0: the first of a seeded permutation of the sorted names.
    """
    by_folder: dict[str, list[str]] = {}
    for name, parts in _below_common_root(names):
        by_folder.setdefault(parts[0].lower() if len(parts) > 1 else "", []).append(name)
    validation = next((folder for folder in VALIDATION_FOLDERS if folder in by_folder), None)
    if "train" in by_folder and validation:
        unused = [
            name for folder, inside in by_folder.items() if folder not in ("train", validation) for name in inside
        ]
        return Split(sorted(by_folder["train"]), sorted(by_folder[validation]), sorted(unused))
    names = sorted(names)
    held_out = max(1, round(share * len(names))) if share > 0 else 0
    order = np.random.default_rng(seed).permutation(len(names))
    return Split([names[i] for i in np.sort(order[held_out:])], [names[i] for i in np.sort(order[:held_out])], [])


def class_names(names: list[str]) -> list[str]:
    """Class of each file: the folder that directly holds it.

    A file that lies directly in the source, in `train` or in a validation folder is of the class `images`.
    """
    top_level = _below_common_root(names)
    split = {parts[0].lower() for _, parts in top_level if len(parts) > 1}
    splits = {"train", *VALIDATION_FOLDERS} if "train" in split and split & set(VALIDATION_FOLDERS) else set()
    classes = []
    for name, parts in top_level:
        folders = PurePosixPath(name).parts[:-1]
        in_split_folder = len(parts) == 2 and parts[0].lower() in splits
        classes.append(folders[-1] if folders and not in_split_folder else NO_FOLDER)
    return classes


def _below_common_root(names: list[str]) -> list[Named]:
    all_parts = [PurePosixPath(name).parts for name in names]
    roots = {parts[0] if len(parts) > 1 else "" for parts in all_parts}
    depth = 1 if len(roots) == 1 and "" not in roots else 0
    return [Named(name, parts[depth:]) for name, parts in zip(names, all_parts, strict=True)]
