"""Data sets written as their own tools write them: by `datasets`, webdataset and NVlabs' dataset_tool."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.test_sources import as_tar, as_zip


def hub_metadata(names: Sequence[str], label: str = "label") -> dict[bytes, bytes]:
    """What `datasets` writes into the schema."""
    features = {"image": {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def as_parquet(
    path: Path, columns: Mapping[str, Any], metadata: dict[bytes, bytes] | None = None, group: int = 3
) -> Path:
    """A file with rows in groups of so many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)).replace_schema_metadata(metadata), path, row_group_size=group)
    return path


def images_column(content: Mapping[str, bytes]) -> list[dict[str, object]]:
    """Structs of bytes and path, the Hub's type Image."""
    return [{"bytes": data, "path": name.rpartition("/")[2]} for name, data in content.items()]


def classes_of(content: Mapping[str, bytes]) -> tuple[list[str], list[int]]:
    """Class names, and the number of each image's, where the first folder is the class."""
    folders = [name.partition("/")[0] for name in content]
    names = sorted(set(folders))
    return names, [names.index(folder) for folder in folders]


def hub_files(root: Path, content: Mapping[str, bytes]) -> Path:
    """Images of class folders as two files of one split."""
    names, labels = classes_of(content)
    rows, half = images_column(content), len(content) // 2
    for number, part in enumerate((slice(half), slice(half, None))):
        columns = {"image": rows[part], "label": labels[part]}
        as_parquet(root / "data" / f"train-{number:05d}-of-00002.parquet", columns, hub_metadata(names))
    (root / "README.md").write_text("a card", encoding="utf-8")
    return root


def shards(root: Path, content: Mapping[str, bytes]) -> Path:
    """Images of class folders as shards of three samples each, with `.cls`."""
    _, labels = classes_of(content)
    root.mkdir()
    members = [
        {f"{row:06d}.png": data, f"{row:06d}.cls": str(label).encode()}
        for row, (data, label) in enumerate(zip(content.values(), labels, strict=True))
    ]
    for number in range(0, len(members), 3):
        of_shard = {name: data for sample in members[number : number + 3] for name, data in sample.items()}
        as_tar(root / f"train-{number // 3:06d}.tar", of_shard)
    return root


def listed(content: Mapping[str, bytes], labels: object = ...) -> dict[str, bytes]:
    """Images of class folders as dataset_tool names them, two in a folder, with their dataset.json."""
    names = [f"{row // 2:05d}/img{row:08d}.png" for row in range(len(content))]
    pairs = [list(pair) for pair in zip(names, classes_of(content)[1], strict=True)]
    text = json.dumps({"labels": pairs if labels is ... else labels})
    return dict(zip(names, content.values(), strict=True)) | {"dataset.json": text.encode()}


def stylegan_zip(path: Path, content: Mapping[str, bytes]) -> Path:
    return as_zip(path, listed(content))


def tar_of_tars(path: Path, content: Mapping[str, bytes]) -> Path:
    """A tar for each class in one tar, as ImageNet's."""
    inner: dict[str, bytes] = {}
    for folder in classes_of(content)[0]:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, data in content.items():
                if name.startswith(f"{folder}/"):
                    member = tarfile.TarInfo(name.partition("/")[2])
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        inner[f"{folder}.tar"] = file.getvalue()
    return as_tar(path, inner)
