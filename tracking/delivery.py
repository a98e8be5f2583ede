"""From a journal to MLflow. Everything here may be slow and may raise; nothing here is needed by the stage.

Sending is idempotent, so a journal can be sent again from its start at any time: runs are identified by tags, curves go
on after the last step in the store, points keep their time (MLflow stores equal points once), and pictures that the
store lists are not sent again.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tracking.cached import link_runs, newest_runs
from tracking.clock import images_per_second, starts
from tracking.datasets import log_datasets
from tracking.journal import Journal, Record
from tracking.models import log_model_numbers, log_models
from tracking.parent import complete, link_stages
from tracking.store import Point, Store, locked
from tracking.views import PICTURES

SHOWN_BY_PARENT = ("parent", "end")  # records after which a parent has something new to show


class Delivery:
    """Sends one journal to its run, in as many passes as it takes."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self.store = store
        self._client = store.client
        self._journal = journal
        header = journal.read()[0][0]
        self._stage: str = header["stage"]
        self._identity: str = header["parent"]["identity"]
        self._experiment: str = header["parent"]["name"]
        with locked(store.root):
            parent = store.parent(header["parent"])
            child = store.child(header, journal, parent.info.run_id)
        self._parent_id: str = parent.info.run_id
        self.run_id: str = child.info.run_id
        self._began: int = child.info.start_time
        self._parent_metrics: dict[str, float] = dict(parent.data.metrics)
        child = self._client.get_run(self.run_id)
        self._last_step: dict[str, int] = {metric.key: metric.step for metric in child.data._metric_objs}
        self._pictures = self._sent_pictures()
        self._offset = 0
        self._end_time = 0
        link_stages(store, self._parent_id, {self._stage: self.run_id})

    def send(self) -> bool:
        """One pass over what was journalled since the last good pass.

        Returns:
            Whether the run has ended and all of the journal is sent.

        Raises:
            Exception: whatever MLflow raises; the next pass starts where this one did.
        """
        records, offset = self._journal.read(self._offset)
        self._send_points([self._as_point(record) for record in records if record["kind"] in ("point", "system")])
        status = None
        for record in records:
            match record["kind"]:
                case "start":
                    status = "RUNNING"
                    self._start(record)
                case "end":
                    status = record["status"]
                    self._end_time = record["time"]
                case "final":
                    self._send_finals(record)
                case "parent":
                    self._update_parent(record)
                case "data":
                    log_datasets(self.store, (self.run_id, self._parent_id), record["datasets"])
        if status not in (None, "RUNNING"):
            self._send_costs()
            self._client.set_terminated(self.run_id, status, self._end_time)
            self._end_parent()
        for record in records:  # last: artifacts can be out of reach where the rest is not
            if record["kind"] == "picture":
                self._send_picture(record)
            if record["kind"] == "diff":
                self._send_diff(record["text"])
        if any(record["kind"] in SHOWN_BY_PARENT for record in records):
            complete(self.store, self._parent_id)
        self._offset = offset
        return status not in (None, "RUNNING")

    def _start(self, record: Record) -> None:
        for run_id in (self.run_id, self._parent_id):
            self._client.update_run(run_id, status="RUNNING")
        tags = record.get("tags", {})
        ranks = float(tags.get("job.ranks", 1))
        self.store.log(self.run_id, [("system/job_ranks", ranks, record["time"], self._second(record["time"]))])
        started = self._client.get_metric_history(self.run_id, "system/job_ranks")  # equal points are kept once
        for tag, value in (tags | {"job.restarts": str(len(started) - 1)}).items():
            self._client.set_tag(self.run_id, tag, value)

    def _second(self, time: int) -> int:
        """Seconds since the run began, which no restart sets back."""
        return max(0, time - self._began) // 1000

    def _as_point(self, record: Record) -> Record:
        return record if record["kind"] == "point" else record | {"step": self._second(record["time"])}

    def _send_points(self, records: list[Record]) -> None:
        points: list[Point] = []
        last = dict(self._last_step)
        for record in records:
            for name, value in record["numbers"].items():
                if record["step"] > last.get(name, -1):  # a resumed stage reports steps that are here already
                    last[name] = record["step"]
                    points.append((name, value, record["time"], record["step"]))
        self.store.log(self.run_id, points)
        self._last_step = last

    def _send_finals(self, record: Record) -> None:
        finals = {f"{self._stage}.{name}": value for name, value in record["numbers"].items()}
        self._send_numbers(finals, record["time"])
        for tag, value in record.get("tags", {}).items():
            self._client.set_tag(self.run_id, tag, value)
        models = log_models(self.store, self.run_id, record.get("models", ()), self._experiment)
        log_model_numbers(self.store, self.run_id, models, numbers=finals, time=record["time"])

    def _send_costs(self) -> None:
        """Hours of each start and their sum, of GPUs or, without any, of cores; and images per second."""
        began = starts(self._journal.read()[0])
        numbers = {}
        for device in {one.device for one in began}:
            name = f"system/job_{device}_hours"
            own = [one for one in began if one.device == device]
            points = [(name, one.device_hours, one.time, self._second(one.time)) for one in own]
            self.store.log(self.run_id, points)  # earlier starts may have been in a journal that is gone
            history = self._client.get_metric_history(self.run_id, name)
            numbers[f"{self._stage}.{device}_hours"] = sum(metric.value for metric in history)
        speed = images_per_second(began)
        if speed is not None:
            numbers[f"{self._stage}.images_per_second"] = speed
        self._send_numbers(numbers, self._end_time)

    def _send_numbers(self, numbers: Mapping[str, float], time: int) -> None:
        """Final numbers, to the run and to the parent."""
        self.store.log_finals(self.run_id, numbers, time, {})
        self.store.log_finals(self._parent_id, numbers, time, self._parent_metrics)
        self._parent_metrics |= numbers

    def _update_parent(self, record: Record) -> None:
        for tag, value in record["tags"].items():
            self._client.set_tag(self._parent_id, tag, value)
        runs = newest_runs(self.store, record["keys"])  # of stages that DVC takes from its cache
        if runs:
            link_runs(self.store, self._client.get_run(self._parent_id), runs)

    def _send_diff(self, text: str) -> None:
        """To the parent, once however many stages ran the same code; a tag of each stage's run names it."""
        name = f"dirty-{hashlib.sha256(text.encode()).hexdigest()[:12]}.diff"
        if all(file.path != name for file in self._client.list_artifacts(self._parent_id)):
            self._client.log_text(self._parent_id, text, name)
        for run_id in (self.run_id, self._parent_id):
            self._client.set_tag(run_id, "git.dirty", name)

    def _sent_pictures(self) -> set[tuple[str, int]]:
        """Name and step of the pictures in the store; MLflow writes them into the file's name."""
        names = (Path(file.path).name for file in self._client.list_artifacts(self.run_id, "images"))
        # The small copy is written last: a picture without it is sent again.
        matches = (re.match(r"(.+)\+step\+(\d+)\+timestamp\+.*compressed\.webp$", name) for name in names)
        return {(match[1], int(match[2])) for match in matches if match}

    def _send_picture(self, record: Record) -> None:
        file = self._journal.pictures / record["file"]
        key = PICTURES + record["name"]
        name_and_step = key.replace("/", "~"), record["step"]
        if name_and_step not in self._pictures and file.exists():
            picture = np.load(file, allow_pickle=False)
            self._client.log_image(self.run_id, picture, key=key, step=record["step"], timestamp=record["time"])
            self._pictures.add(name_and_step)
        file.unlink(missing_ok=True)

    def _end_parent(self) -> None:
        """Give the parent the worst status among the newest run of each of its stages."""
        runs = self._client.search_runs(
            [self.store.experiment_id],
            f"tags.`d2it.parent` = '{self._identity}'",
            order_by=["attributes.start_time ASC"],
        )
        self.store.sum_hours(self._parent_id)
        newest = {run.data.tags["d2it.stage"]: run.info.status for run in runs}
        status = next((s for s in ("RUNNING", "FAILED", "KILLED") if s in newest.values()), "FINISHED")
        if status == "RUNNING":
            self._client.update_run(self._parent_id, status=status)
        else:
            self._client.set_terminated(self._parent_id, status)
