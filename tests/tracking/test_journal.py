"""The journal alone: its file, and which process may write it. No MLflow."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tracking.journal import Journal, folder, left_behind

HEADER = {"stage": "sample", "key": "abc"}


def _points(journal: Journal) -> list[int]:
    return [record["step"] for record in journal.read()[0] if record["kind"] == "point"]


def _append_for_ever(root: Path) -> None:
    journal = Journal.open(root, "sample-abc", HEADER)
    journal.append("start", {"host": "here"})
    for step in range(1_000_000):
        journal.append("point", {"step": step, "numbers": {"loss": 0.0}})


def _killed_writer(root: Path) -> None:
    """Leave a journal behind as kill -9 leaves it."""
    process = multiprocessing.get_context("fork").Process(target=_append_for_ever, args=(root,))
    process.start()
    paths: list[Path] = []
    while not any(path.stat().st_size > 100_000 for path in paths):
        assert process.is_alive()
        paths = list(folder(root).glob("*.jsonl"))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_records_come_back_in_order_and_from_an_offset(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "sample-abc", HEADER)
    for step in range(5):
        journal.append("point", {"step": step})
    _, offset = journal.read()
    journal.append("point", {"step": 5})
    records, _ = journal.read(offset)
    assert _points(journal) == list(range(6))
    assert [record["step"] for record in records] == [5]
    assert journal.read()[0][0]["stage"] == "sample"


def test_killed_writer_leaves_every_point_that_it_wrote_and_the_next_one_goes_on(tmp_path: Path) -> None:
    _killed_writer(tmp_path)
    journal = Journal.open(tmp_path, "sample-abc", HEADER)
    steps = _points(journal)
    assert len(steps) > 1000
    assert steps == list(range(len(steps)))
    assert len(list(folder(tmp_path).glob("*.jsonl"))) == 1


def test_torn_last_line_is_cut_and_does_not_harm_the_next_record(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "sample-abc", HEADER)
    journal.append("point", {"step": 1})
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"kind": "point", "st')
    again = Journal.open(tmp_path, "sample-abc", HEADER)
    again.append("point", {"step": 2})
    assert again.path == journal.path
    assert _points(again) == [1, 2]


def test_journal_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    living = Journal.open(tmp_path, "sample-abc", HEADER)
    living.append("start", {"host": "here"})
    assert Journal.adopt(living.path) is None
    assert list(left_behind(tmp_path, "here")) == []
    other = Journal.open(tmp_path, "sample-abc", HEADER)
    assert other.path != living.path
    assert living.status() is None


def test_killed_run_is_closed_as_killed_by_the_process_that_adopts_its_journal(tmp_path: Path) -> None:
    _killed_writer(tmp_path)
    ((*_, last, end),) = [journal.read()[0] for journal in left_behind(tmp_path, "here")]
    assert end["status"] == "KILLED"
    assert end["time"] == last["time"]


def test_writer_on_another_host_counts_as_alive_until_it_has_been_silent(tmp_path: Path) -> None:
    _killed_writer(tmp_path)
    assert list(left_behind(tmp_path, "elsewhere")) == []
    assert len(list(left_behind(tmp_path, "elsewhere", silence=0.0))) == 1


def test_finished_journal_is_not_continued_but_a_failed_one_is(tmp_path: Path) -> None:
    for status, same in (("FAILED", True), ("FINISHED", False)):
        first = Journal.open(tmp_path, f"sample-{status}", HEADER)
        first.append("start", {"host": "here"})
        first.append("end", {"status": status})
        first.close()
        second = Journal.open(tmp_path, f"sample-{status}", HEADER)
        assert (second.path == first.path) is same


def test_disk_full_raises_and_leaves_whole_records_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path, "sample-abc", HEADER)
    journal.append("point", {"step": 1})
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:7]))  # what a full disk does
        with pytest.raises(OSError, match="no space"):
            journal.append("point", {"step": 2})
    journal.append("point", {"step": 3})
    assert _points(journal) == [1, 3]


def test_picture_is_kept_bit_by_bit(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "sample-abc", HEADER)
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    journal.append_picture(64, "grid/%a", picture)
    record = journal.read()[0][-1]
    assert (record["name"], record["step"]) == ("grid/_a", 64)
    np.testing.assert_array_equal(np.load(journal.pictures / record["file"], allow_pickle=False), picture)
    journal.delete()
    assert list(folder(tmp_path).iterdir()) == []
