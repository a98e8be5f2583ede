"""Parquet files of images, as the Hugging Face Hub and its library `datasets` write them: a row is an image.

The column of images is the first of IMAGES: bytes of image files, or structs of `bytes` and `path`. The class is the
first column of whole numbers among LABELS; its names stand in the schema's metadata `huggingface`, else the numbers are
the names. Halves follow from names of files and folders (labelled.py): `train-00000-of-00002.parquet`,
`data/test/0000.parquet`. Row 17 of a file is the image `FILE/17`.

Rows are read by row group, since parquet compresses these whole, and of a group only the column of images. The last
groups stay in memory, CACHE_BYTES in all and at least one: images are read nearly in order, by all threads at once, so
that each group is read once.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2it.data.files import ImageFiles
from d2it.data.imageset import DataError, printable
from d2it.data.labelled import Labelled, Rules, by_number, half_of, lay_out
from d2it.data.layout import NO_LABEL, Layout

IMAGES = ("image", "img", "jpg", "png")
LABELS = ("label", "labels", "cls", "fine_label")
CACHE_BYTES = 1 << 29
MAX_GROUP_BYTES = 1 << 31  # of images in a row group; the Hub's are a hundredth of it


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One file."""

    path: Path
    images: str  # column
    label: str  # column; empty where there is none
    classes: list[str]  # names of the labels; empty where there are none
    starts: NDArray[np.int64]  # first row of each row group, and the number of rows


def is_parquet(name: str) -> bool:
    """Whether a file is one, by its name."""
    return name.lower().endswith(".parquet")


def holds_images(path: Path) -> bool:
    """Whether a file can be read and has a column of images."""
    try:
        return bool(_open(path, path.name).images)
    except DataError:
        return False


def open_parquet(root: Path, names: Sequence[str], rules: Rules) -> tuple[ImageFiles, Layout]:
    """The images of parquet files, `names` below `root`, in the order of files and rows.

    Raises:
        DataError: a file is damaged, holds no column of images, or differs from the others in its columns or classes.
    """
    tables = {name: _open(root / name, name) for name in sorted(names)}
    first, table = next(iter(tables.items()))
    for name, other in tables.items():
        if (other.images, other.label, other.classes) != (table.images, table.label, table.classes):
            raise DataError(f"{first} and {name} differ in columns or classes: must be one data set; name its folder")
    labels, classes = np.concatenate([_labels(of_file, name) for name, of_file in tables.items()]), table.classes
    if not classes:
        labels, classes = by_number(labels)
    images = Labelled(
        names=[f"{name}/{row}" for name, of_file in tables.items() for row in range(of_file.starts[-1])],
        halves=[half for name, of_file in tables.items() for half in [_half(name)] * int(of_file.starts[-1])],
        labels=labels,
        classes=classes,
    )
    return ImageFiles(images.names, {}, _reader(tables)), lay_out(images, rules, list(_remarks(table)))


def _half(name: str) -> str:
    return half_of(name.removesuffix(".parquet"))


def _remarks(table: _Table) -> Iterator[str]:
    if not table.label:
        yield f"no column of whole numbers is named {', '.join(LABELS)}: all images are of one class"
    elif table.label != LABELS[0]:
        yield f"class = column {table.label}"


def _open(path: Path, name: str) -> _Table:
    import pyarrow as pa  # slow, and no other source needs it
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{printable(name)}: not a readable parquet file ({' '.join(str(error).split())})") from None
    images = next((c for c in IMAGES if c in schema.names and _holds_files(schema.field(c).type)), "")
    if not images:
        raise DataError(
            f"{name}: columns {', '.join(schema.names)}: one must be named {' or '.join(IMAGES)} and hold image files, "
            "as bytes or as structs of bytes and path"
        )
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    for group in groups:
        columns = [group.column(column) for column in range(group.num_columns)]
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == images)
        if size > MAX_GROUP_BYTES:
            raise DataError(
                f"{name}: a row group of {size / 1e9:.1f} GB: must be at most {MAX_GROUP_BYTES >> 30} GiB; write the "
                "file anew with smaller ones, row_group_size=100"
            )
    label = next((c for c in LABELS if c in schema.names and pa.types.is_integer(schema.field(c).type)), "")
    starts = np.cumsum([0, *(group.num_rows for group in groups)])
    classes = _class_names(schema.metadata or {}, label)
    return _Table(path=path, images=images, label=label, classes=classes, starts=starts)


def _holds_files(kind: Any) -> bool:
    """Whether a column of that pyarrow type holds files."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _class_names(metadata: dict[bytes, bytes], label: str) -> list[str]:
    """Of a ClassLabel; empty where the schema has none."""
    try:
        feature = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"][label]
        return [str(name) for name in feature["names"]]
    except (ValueError, KeyError, TypeError):
        return []


def _labels(table: _Table, name: str) -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = int(table.starts[-1])
    if not table.label:
        return np.full(rows, NO_LABEL, np.int64)
    try:
        column = pq.read_table(table.path, columns=[table.label], use_threads=False)[table.label]
        labels: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), NO_LABEL).to_numpy()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: column {table.label}: cannot be read ({' '.join(str(error).split())})") from None
    wrong = np.flatnonzero((labels < NO_LABEL) | (labels >= (len(table.classes) or np.iinfo(np.int64).max)))
    if len(wrong):
        classes = f"0..{len(table.classes) - 1}" if table.classes else "0 or more"
        raise DataError(f"{name}: row {wrong[0]}: {table.label} {labels[wrong[0]]}: must be {classes}, or -1 for none")
    return labels


def _reader(tables: dict[str, _Table]) -> Callable[[str], bytes]:
    lock = threading.Lock()
    groups: OrderedDict[tuple[str, int], Any] = OrderedDict()  # the last ones, a chunked array each

    def group_of(name: str, number: int) -> Any:
        with lock:  # one thread reads a group while the others, which need the same, wait
            if (name, number) in groups:
                groups.move_to_end((name, number))
                return groups[name, number]
            groups[name, number] = column = _read_group(tables[name], number)
            while len(groups) > 1 and sum(group.nbytes for group in groups.values()) > CACHE_BYTES:
                groups.popitem(last=False)
            return column

    def read(name: str) -> bytes:
        file, _, row = name.rpartition("/")
        starts = tables[file].starts
        number = int(np.searchsorted(starts, int(row), "right")) - 1
        value = group_of(file, number)[int(row) - int(starts[number])].as_py()
        content = value["bytes"] if isinstance(value, dict) else value
        if content is None:
            path = value.get("path") if isinstance(value, dict) else None
            raise ValueError(f"the file holds its path alone, {path}" if path else "no image in this row")
        return bytes(content)

    return read


def _read_group(table: _Table, number: int) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(table.path) as file:
        return file.read_row_group(number, columns=[table.images], use_threads=False)[table.images]
