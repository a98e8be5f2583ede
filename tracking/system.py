"""CPU, memory and GPU use of this job's own processes, every few seconds; not of the whole node, which others share."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil

INTERVAL = 12.0  # seconds between two samples
Numbers = dict[str, float]


class Usage:
    """CPU, memory and GPUs of this job's ranks on this node and of all that they have started."""

    def __init__(self, gpus: int) -> None:
        self._gpus = gpus
        self._before: dict[tuple[int, float], float] = {}  # CPU seconds by process id and when it began
        self._when = 0.0
        self.sample()  # CPU use is a difference

    def sample(self) -> Numbers:
        """Use since the last sample, by metric.

        `system/cpu_percent` (100 per busy core), `system/memory_megabytes`, and `gpu_<n>_percent` and
        `gpu_<n>_memory_megabytes` of each GPU.
        """
        seconds, memory, now = {}, 0, time.monotonic()
        for process in _job_processes():
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                seconds[process.pid, process.create_time()] = times.user + times.system
                memory += process.memory_info().rss
        spent = sum(total - self._before.get(key, 0.0) for key, total in seconds.items())
        percent = 100 * spent / max(now - self._when, 1e-3)
        self._before, self._when = seconds, now
        return {"system/cpu_percent": percent, "system/memory_megabytes": memory / 1e6} | self._gpu_numbers()

    def _gpu_numbers(self) -> Numbers:
        torch = sys.modules.get("torch")
        numbers: Numbers = {}
        if torch is None or not torch.cuda.is_initialized():
            return numbers
        for index in range(min(self._gpus, torch.cuda.device_count())):
            with contextlib.suppress(Exception):  # not reported for a part of a GPU (MIG)
                numbers[f"system/gpu_{index}_memory_megabytes"] = torch.cuda.device_memory_used(index) / 1e6
                numbers[f"system/gpu_{index}_percent"] = float(torch.cuda.utilization(index))
        return numbers


def _job_processes() -> Iterator[psutil.Process]:
    """The ranks on this node, which one parent has started with the same command, and their children."""
    own = psutil.Process()
    ranks = {own}
    with contextlib.suppress(psutil.Error):
        command = own.cmdline()
        for other in psutil.Process(own.ppid()).children():
            with contextlib.suppress(psutil.Error):
                if "slurm.worker" in command and other.cmdline() == command:
                    ranks.add(other)
    for rank in ranks:
        yield rank
        with contextlib.suppress(psutil.Error):
            yield from rank.children(recursive=True)


class Watch:
    """A thread that hands a sample to `take` every INTERVAL seconds, and one at its end. Never fails."""

    def __init__(self, gpus: int, take: Callable[[Numbers], None]) -> None:
        self._gpus = gpus
        self._take = take
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with a last sample."""
        self._ended.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        with contextlib.suppress(Exception):  # a missing number must not end the stage
            usage = Usage(self._gpus)
            while True:
                last = self._ended.wait(INTERVAL)
                self._take(usage.sample())
                if last:
                    return
