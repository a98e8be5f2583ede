"""Reading what training needs next while it computes, with results as if each were read when it is needed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Data = TypeVar("Data")

AHEAD = 8  # micro-batches
THREADS = 4  # they wait for a disk more than they compute


def read_ahead(read: Callable[[Item], Data], items: Iterable[Item]) -> Generator[Data, None, None]:
    """`read(item)` of each item in order, read by other threads up to `AHEAD` items ahead.

    What `read` raises is raised where its result would come. Close it (`contextlib.closing`), and its threads end.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reader")
    waiting: deque[Future[Data]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
