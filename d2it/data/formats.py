"""What a path is: a folder, zip or tar of images, or one of the formats that have a reader of their own.

In a folder without images its parquet files count (parquet.py), else its tars, each as the folder of its name. Of all
others a `dataset.json` beside or above the images names the classes (stylegan.py); else the members `.cls` of tars do
(webdataset.py), and tars with a number for a name are shards and no classes; else folders do (layout.py), and for
ImageNet's validation images the files that come with them (imagenet.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from d2it.data.files import OTHER, ImageFiles, open_files, open_tars
from d2it.data.imagenet import placed
from d2it.data.imageset import DataError
from d2it.data.labelled import Rules, half_of
from d2it.data.layout import TRAINING, Half, Layout, read_layout
from d2it.data.parquet import holds_images, is_parquet, open_parquet
from d2it.data.stylegan import open_stylegan, read_list
from d2it.data.webdataset import has_classes, is_shard, open_webdataset

SHOWN = 3  # names of files that are left out
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".parquet", ".arrow", ".tfrecord")
ALLOWED = "a folder may hold images, or tars that are not compressed, or parquet files; or name one zip; unpack others"


def read_path(path: Path, rules: Rules) -> tuple[ImageFiles, Layout]:
    """The images at a path, and what each is for.

    Raises:
        DataError: there are none, or they cannot be understood.
    """
    if path.is_file() and is_parquet(path.name):
        return open_parquet(path.parent, [path.name], rules)
    files, tars = open_files(path), list[str]()
    others = files.left_out.get(OTHER, [])
    if path.is_dir() and not files.names:
        tars = [name for name in others if name.endswith(".tar")]
        parquet = [name for name in others if is_parquet(name)]
        if parquet and (not tars or holds_images(path / parquet[0])):  # beside tars it may be a table of captions
            rows, layout = open_parquet(path, parquet, rules)
            return replace(rows, left_out=_without(files.left_out, parquet)), layout
        if tars:
            files = _with_tars(path, files, tars)
    if not files.names:
        raise DataError(f"no image in it{counted(files.left_out)}{_archives(others)}")
    _refuse_packed_training(files.names, [] if tars else others)
    if listed := read_list(files):
        return open_stylegan(files, listed, rules)
    if any(is_shard(tar) for tar in tars) or ((tars or path.is_file()) and has_classes(files)):
        return open_webdataset(files, rules)
    return files, _by_folders(files, rules)


def lines(left_out: dict[str, list[str]]) -> list[str]:
    """What is left out, a line for each reason."""
    return [
        f"{len(names)} files left out, {reason}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for reason, names in left_out.items()
    ]


def counted(left_out: dict[str, list[str]]) -> str:
    """The same at the end of an error's line."""
    return "".join(f"; {line}" for line in lines(left_out))


def _refuse_packed_training(names: Sequence[str], others: Sequence[str]) -> None:
    """Validation images would train where those of the training folder are still packed."""

    def of_training(name: str) -> bool:
        return half_of(name.rpartition("/")[0]) in TRAINING

    packed = [name for name in others if name.lower().endswith(ARCHIVES) and of_training(name)]
    if packed and not any(map(of_training, names)):
        raise DataError(f"{packed[0]}: the training folder holds archives, and images lie elsewhere alone; unpack them")


def _archives(others: Sequence[str]) -> str:
    """What to do about archives, where there are some."""
    return f"; {ALLOWED}" if any(name.lower().endswith(ARCHIVES) for name in others) else ""


def _with_tars(root: Path, files: ImageFiles, tars: Sequence[str]) -> ImageFiles:
    """The images in the tars of a folder that holds no others, and whatever else is there."""
    inside, beside = open_tars(root, tars), _without(files.left_out, tars)
    left_out = {
        reason: sorted([*inside.left_out.get(reason, []), *beside.get(reason, [])])
        for reason in inside.left_out | beside
    }

    def read(name: str) -> bytes:
        try:
            return inside.read(name)
        except KeyError:  # a file beside the tars
            return files.read(name)

    return ImageFiles(inside.names, left_out, read)


def _without(left_out: dict[str, list[str]], names: Sequence[str]) -> dict[str, list[str]]:
    used = set(names)
    rest = {reason: [name for name in of_reason if name not in used] for reason, of_reason in left_out.items()}
    return {reason: of_reason for reason, of_reason in rest.items() if of_reason}


def _by_folders(files: ImageFiles, rules: Rules) -> Layout:
    """By rules on file names, with ImageNet's validation images in the folders of their classes."""
    real = placed(files) if rules.labels else {}
    moved = set(real.values())
    names = [*(name for name in files.names if name not in moved), *real]
    layout = read_layout(names, rules.share, rules.seed, splits=rules.splits, labels=rules.labels)

    def back(names: list[str]) -> list[str]:
        return [real.get(name, name) for name in names]

    return replace(
        layout, train=Half(back(layout.train.names), layout.train.labels),
        validation=Half(back(layout.validation.names), layout.validation.labels),
        left_out={reason: back(names) for reason, names in layout.left_out.items()},
    )  # fmt: skip
