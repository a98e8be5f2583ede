"""ImageNet (ILSVRC2012) as downloaded: its validation images lie in one folder, and a file apart names their classes.

That file is one of these, the first that is there, anywhere in the data set:

- `LOC_val_solution.csv` of Kaggle: `ILSVRC2012_val_00000001,n01751748 70 85 415 310 ...`, in any order;
- `imagenet_2012_validation_synset_labels.txt` or `val_labels.txt`: line i is the class of image i, as `n01751748`;
- the development kit, `ILSVRC2012_devkit_t12.tar.gz` or its folder: line i of the ground truth is the number of the
  class of image i, and `meta.mat` names the classes.

A validation image then counts as if it lay in the folder of its class, as the training images do; layout.py does the
rest.
"""

import csv
import io
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from d2it.data.files import OTHER, ImageFiles
from d2it.data.imageset import DataError

SOLUTION = "LOC_val_solution.csv"
SYNSETS = ("imagenet_2012_validation_synset_labels.txt", "val_labels.txt")
KIT = "ILSVRC2012_devkit_t12.tar.gz"
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"  # of the kit, in its folder `data`
_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")
_CLASS = re.compile(r"n\d{8}")


def placed(files: ImageFiles) -> dict[str, str]:
    """Real name of each validation image by the name that it has in the folder of its class.

    Empty where there is no such image or no file of the truth.

    Raises:
        DataError: the truth cannot be understood, or has nothing on an image.
    """
    flat = {name: int(match[1]) for name in files.names if (match := _flat(name))}
    truth = _truth(files) if flat else None
    if truth is None:
        return {}
    source, class_of = truth
    for name, number in flat.items():
        if number not in class_of:
            raise DataError(f"{source}: has no class of {name}: it must be whole, or the image be removed")
    return {f"{name.rpartition('/')[0]}/{class_of[number]}/{PurePosixPath(name).name}".lstrip("/"): name
            for name, number in flat.items()}  # fmt: skip


def _flat(name: str) -> re.Match[str] | None:
    """A match of a validation image that is not in the folder of a class."""
    folder, _, file = name.rpartition("/")
    return None if _CLASS.fullmatch(folder.rpartition("/")[2]) else _IMAGE.fullmatch(file)


def _truth(files: ImageFiles) -> tuple[str, dict[int, str]] | None:
    """Name of the file of the truth, and the class of each number of an image."""
    by_file = {name.rpartition("/")[2]: name for name in reversed(files.left_out.get(OTHER, []))}
    readers: list[tuple[str, Callable[[str], dict[int, str]]]] = [
        (SOLUTION, lambda name: _of_solution(files.read(name))),
        *((file, lambda name: _of_synsets(files.read(name))) for file in SYNSETS),
        (KIT, lambda name: _of_kit(files.read(name))),
        (TRUTH, lambda name: _of_numbers(files.read(name), files.read(f"{name.removesuffix(TRUTH)}{META}"))),
    ]
    for file, read in readers:
        if file in by_file:
            try:
                return by_file[file], read(by_file[file])
            except Exception as error:  # damaged, or another file of that name: SciPy raises nearly every type
                reason = " ".join(str(error).split()) or type(error).__name__
                raise DataError(f"{by_file[file]}: cannot be understood ({reason}): load it anew") from None
    return None


def _of_solution(content: bytes) -> dict[int, str]:
    rows = csv.DictReader(io.StringIO(content.decode()))
    return {
        int(row["ImageId"].rpartition("_")[2]): _class(row["PredictionString"].split()[:1], row["ImageId"])
        for row in rows
    }


def _of_synsets(content: bytes) -> dict[int, str]:
    lines = content.decode().splitlines()
    return {number: _class(line.split()[:1], f"line {number}") for number, line in enumerate(lines, 1)}


def _of_kit(content: bytes) -> dict[int, str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        parts = {
            file: part.read()
            for member in archive
            if (file := member.name.rpartition("/")[2]) in (TRUTH, META) and (part := archive.extractfile(member))
        }
    for name in (TRUTH, META):
        if name not in parts:
            raise ValueError(f"no {name} in it")
    return _of_numbers(parts[TRUTH], parts[META])


def _of_numbers(truth: bytes, meta: bytes) -> dict[int, str]:
    from scipy.io import loadmat  # type: ignore[import-untyped] # slow; it unpickles nothing

    synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    wnids = {int(number): str(wnid) for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)}
    numbers = [int(line) for line in truth.split()]
    return {image: _class([wnids.get(number, "")], f"line {image}") for image, number in enumerate(numbers, 1)}


def _class(words: Sequence[str], where: str) -> str:
    if not words or not _CLASS.fullmatch(words[0]):
        raise ValueError(f"{where}: {' '.join(words) or 'nothing'} is no class, as n01440764 is")
    return words[0]
