"""All runs as event files for TensorBoard: <experiment>/<stage>/ for a stage's run, <experiment>/ for the parent.

A parent's file holds params, as TensorBoard's hyperparameters, with the final numbers; a stage's its curves and
pictures, with their steps and times. Each file is made anew and takes the place of an older one only where it differs.
"""

import filecmp
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from tracking.store import Store
from tracking.views import OVERVIEW

if TYPE_CHECKING:
    from mlflow.entities import Run

VERSION = "brain.Event:2"  # the first record of every file
PICTURE = re.compile(r"(.+)\+step\+(\d+)\+timestamp\+(\d+)\+[^+]*\.png")


def export(store: Store, folder: Path) -> tuple[int, int]:
    """Write all runs into a folder, which is made.

    Returns:
        How many runs there are, and how many files are new or have changed.

    Raises:
        OSError: the folder cannot be written; each file in it is whole.
        Exception: whatever MLflow raises.
    """
    runs, written = 0, 0
    for parent, own in _named(sorted(store.parents(), key=_began), folder):
        condition = f"tags.`d2it.parent` = '{parent.data.tags['d2it.identity']}'"
        stages = store.client.search_runs([store.experiment_id], condition, order_by=["attributes.start_time ASC"])
        written += _write(own, parent, [*_hyperparameters(parent), *_finals(parent)])
        for run, place in _named(stages, own):
            with TemporaryDirectory() as pictures:
                written += _write(place, run, [*_curves(store, run), *_pictures(store, run, Path(pictures))])
        runs += 1 + len(stages)
    return runs, written


def _began(run: "Run") -> int:
    return int(run.info.start_time)


def _named(runs: "Iterable[Run]", folder: Path) -> "Iterator[tuple[Run, Path]]":
    """Each with a folder of its own: the oldest of a name has it, others add their id, so no name ever changes."""
    taken: set[str] = set()
    for run in runs:
        name = re.sub(r"[^\w.-]", "_", run.info.run_name)
        name = f"{name}-{run.info.run_id[:8]}" if name in taken else name
        taken.add(name)
        yield run, folder / name


def _write(folder: Path, run: "Run", events: Iterable[Event]) -> bool:
    """Whether the run's file is new or has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    began = run.info.start_time / 1000
    path = folder / f"events.out.tfevents.{int(began)}.{run.info.run_id}"
    part = folder / f".{run.info.run_id}.part"  # a name that TensorBoard does not look for
    try:
        writer = RecordWriter(str(part))
        for event in [Event(wall_time=began, file_version=VERSION), *events]:
            writer.write(event.SerializeToString(deterministic=True))
        writer.close()
        if path.exists() and filecmp.cmp(part, path, shallow=False):
            return False
        part.replace(path)
        return True
    finally:
        part.unlink(missing_ok=True)


def _curves(store: Store, run: "Run") -> Iterator[Event]:
    for name in sorted(run.data.metrics):
        for point in store.client.get_metric_history(run.info.run_id, name):
            yield Event(wall_time=point.timestamp / 1000, step=point.step, summary=summary.scalar(name, point.value))


def _finals(parent: "Run") -> Iterator[Event]:
    for point in sorted(parent.data._metric_objs, key=lambda point: str(point.key)):
        if not math.isnan(point.value):  # of what is not measured yet
            yield Event(wall_time=point.timestamp / 1000, summary=summary.scalar(point.key, point.value))


def _pictures(store: Store, run: "Run", folder: Path) -> Iterator[Event]:
    """The files as they are, which are PNG already."""
    found = []
    for file in store.client.list_artifacts(run.info.run_id, "images"):
        if match := PICTURE.fullmatch(Path(file.path).name):
            found.append((match[1].replace("~", "/"), int(match[2]), int(match[3]), str(file.path)))
    for name, step, time, path in sorted(found):
        local = Path(store.client.download_artifacts(run.info.run_id, path, str(folder)))
        with Image.open(local) as picture:
            width, height = picture.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=local.read_bytes())
        yield Event(wall_time=time / 1000, step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))


def _hyperparameters(parent: "Run") -> Iterator[Event]:
    """Params, and the numbers to compare by, for TensorBoard's page HPARAMS."""
    params = {key: _value(text) for key, text in sorted(parent.data.params.items())}
    known = {name: value for name, value in parent.data.metrics.items() if not math.isnan(value)}
    numbers = {name: known[name] for name in OVERVIEW.metrics if name in known}
    for part in summary.hparams(params, numbers) if params else ():
        data = part.value[0].metadata.plugin_data
        data.content = HParamsPluginData.FromString(data.content).SerializeToString(deterministic=True)
        yield Event(wall_time=_began(parent) / 1000, summary=part)


def _value(text: str) -> Any:
    """A param as number or truth value, where it is one: those TensorBoard can filter and draw."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text
