"""What is read ahead is what would be read when it is needed: the same, in the same order, with the same errors."""

import threading
import time
from contextlib import closing
from itertools import islice

import pytest

from d2it.training import read_ahead as module
from d2it.training.read_ahead import AHEAD, read_ahead


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")]


@pytest.mark.parametrize("items", [0, 1, AHEAD, AHEAD + 1, 50])
def test_all_come_in_order_however_long_each_takes(items: int) -> None:
    def read(item: int) -> int:
        time.sleep(0.002 * (item % 3 == 0))
        return item**2

    assert list(read_ahead(read, range(items))) == [item**2 for item in range(items)]
    assert readers() == []


def test_while_one_is_used_the_next_are_read_and_no_more_than_a_few() -> None:
    started = [threading.Event() for _ in range(100)]
    with closing(read_ahead(lambda item: started[item].set(), iter(range(100)))) as data:
        next(data)
        assert all(event.wait(10) for event in started[: AHEAD + 1])
        assert not any(event.is_set() for event in started[AHEAD + 1 :])


def test_several_are_read_at_once() -> None:
    together = threading.Barrier(module.THREADS, timeout=10)
    list(read_ahead(lambda _: together.wait(), range(module.THREADS)))


def test_an_error_of_the_reader_is_raised_where_its_data_are_needed_and_no_thread_is_left() -> None:
    def read(item: int) -> int:
        if item == 3:
            raise OSError("disk")
        return item

    data = read_ahead(read, range(9))
    assert list(islice(data, 3)) == [0, 1, 2]
    with pytest.raises(OSError, match="disk"):
        next(data)
    assert readers() == []


def test_whoever_leaves_early_leaves_no_thread_behind() -> None:
    with closing(read_ahead(lambda item: item, iter(range(10**9)))) as data:
        next(data)
        assert readers()
    assert readers() == []
