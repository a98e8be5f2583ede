"""Hours and images per second, from given times."""

import pytest

from tracking.clock import images_per_second, starts
from tracking.journal import Record


def _start(hour: float, gpus: int = 0, cores: int = 1) -> Record:
    return {"kind": "start", "time": int(hour * 3_600_000), "gpus": gpus, "cores": cores}


def _point(hour: float, images: int) -> Record:
    return {"kind": "point", "time": int(hour * 3_600_000), "step": images}


def _end(hour: float) -> Record:
    return {"kind": "end", "time": int(hour * 3_600_000)}


def test_hours_are_of_gpus_and_without_any_of_cores() -> None:
    with_gpus, without = starts([_start(0, gpus=4, cores=8), _end(2), _start(5, cores=8), _end(6)])
    assert (with_gpus.device, with_gpus.device_hours) == ("gpu", 8)
    assert (without.device, without.device_hours) == ("cpu", 8)


def test_killed_start_counts_to_its_last_record_and_not_to_the_next_start() -> None:
    first, second = starts([_start(0), _point(1, 100), _start(9), _end(10)])
    assert (first.hours, second.hours) == (1, 1)


def test_images_per_second_leave_out_the_pause_between_two_starts_and_count_repeated_images() -> None:
    records = [_start(0), _point(1, 3600), _point(2, 7200), _start(9), _point(10, 3600), _point(12, 10800), _end(13)]
    assert images_per_second(starts(records)) == pytest.approx((3600 + 7200) / (3 * 3600))


def test_stage_without_a_curve_has_no_speed() -> None:
    assert images_per_second(starts([_start(0), _point(1, 0), _end(2)])) is None
