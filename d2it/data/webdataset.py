"""Shards of the library webdataset: tars in which an image and its class are two members of one key.

`train/000.tar`, `imagenet-train-000012.tar`: image `a/17.jpg` with the class beside it in `a/17.cls`, a whole number or
a name; else in `a/17.json`, under "label"; else in `a/17.txt`, where all of these are whole numbers (else they are
captions). The key is the name up to the first dot of its last part. Halves follow from names of shards and folders
(labelled.py).
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

import numpy as np

from d2it.data.files import OTHER, ImageFiles
from d2it.data.imageset import DataError
from d2it.data.labelled import Labelled, Rules, half_of, lay_out
from d2it.data.layout import NO_LABEL, Layout

BESIDE = (".cls", ".json", ".txt")  # members that may hold a class, the first that some image has counts
FURTHER = "a further image of the same key"  # reason
_SHARD = re.compile(r"(^|.*[-_.])\d{3,}")  # name of a tar that is no class


def is_shard(tar: str) -> bool:
    """Whether a tar's path is that of one of many: 'train/000.tar', 'a-000012.tar', but not 'n01440764.tar'."""
    return _SHARD.fullmatch(PurePosixPath(tar).stem) is not None


def has_classes(files: ImageFiles) -> bool:
    """Whether some image has its class beside it in a `.cls`."""
    others = {name for name in files.left_out.get(OTHER, []) if name.endswith(".cls")}
    return bool(others) and any(f"{_key(name)}.cls" in others for name in files.names)


def open_webdataset(files: ImageFiles, rules: Rules) -> tuple[ImageFiles, Layout]:
    """The images of shards, sorted by name.

    Raises:
        DataError: a class cannot be understood, or files look like splits and cannot be taken for them.
    """
    by_key, further = _images(files.names)
    others = set(files.left_out.get(OTHER, []))
    class_of, used = _classes(by_key, others, files.read)
    classes = _in_order(set(class_of.values()))
    number = {name: label for label, name in enumerate(classes)}
    images = Labelled(
        names=list(by_key.values()),
        halves=[half_of(key.rpartition("/")[0]) for key in by_key],
        labels=np.array([number.get(class_of.get(key, ""), NO_LABEL) for key in by_key], np.int64),
        classes=classes,
    )
    rest = {OTHER: sorted(others - used), FURTHER: further}
    left_out = files.left_out | rest
    remarks = [] if class_of else ["no image has its class beside it in a .cls or .json: all images are of one class"]
    kept = ImageFiles(images.names, {reason: names for reason, names in left_out.items() if names}, files.read)
    return kept, lay_out(images, rules, remarks)


def _images(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The image of each key, sorted by name, and the others: of `a.jpg` and `a.mask.png` the first."""
    by_key: dict[str, str] = {}
    further = []
    for name in sorted(names, key=lambda name: (name.rpartition("/")[2].count("."), name)):
        if by_key.setdefault(_key(name), name) != name:
            further.append(name)
    return dict(sorted(by_key.items(), key=lambda item: item[1])), sorted(further)


def _classes(by_key: dict[str, str], others: set[str], read: Callable[[str], bytes]) -> tuple[dict[str, str], set[str]]:
    """Class of each key, and the names of the members that hold them; both empty where there are none."""
    for suffix in BESIDE:
        beside = {key: key + suffix for key in by_key if key + suffix in others}
        texts = {key: _class(member, read) for key, member in beside.items()}
        class_of = {key: text for key, text in texts.items() if text}
        if not class_of or (suffix == ".txt" and not all(text.isdecimal() for text in class_of.values())):
            continue
        return class_of, set(beside.values())
    return {}, set()


def _class(member: str, read: Callable[[str], bytes]) -> str:
    """What a member says; empty if it names no class."""
    try:
        text = read(member).decode().strip()
        if not member.endswith(".json"):
            return str(int(text)) if text.isdecimal() else text
        content = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{member}: cannot be read ({error}): must be text, or JSON with a label") from None
    label = content.get("label") if isinstance(content, dict) else None
    return str(label) if isinstance(label, int | str) else ""


def _in_order(classes: Iterable[str]) -> list[str]:
    """Numbers by size, and names after them by name."""
    return sorted(classes, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"
