"""Samples stand beside real images of their own class, spread over the class."""

import numpy as np
from numpy.typing import NDArray

from d2it.evaluation.beside_real import beside_nearest, beside_real, spread

SIZE = 128  # shown as they are


class Flat:
    """Images of one colour each; image i has the value of its number."""

    size = SIZE

    def __init__(self, labels: list[int] | None, count: int, first: int = 0) -> None:
        self.labels = None if labels is None else np.array(labels)
        self._count, self._first = count, first

    def __len__(self) -> int:
        return self._count

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        values = (self._first + np.asarray(indices)).astype(np.uint8)
        return np.broadcast_to(values[:, None, None, None], (len(values), SIZE, SIZE, 3)).copy()


def colours(picture: NDArray[np.uint8]) -> set[int]:
    """Of whole images, which are larger than any letter."""
    flat, counts = np.unique(picture[(picture == picture[..., :1]).all(-1)][:, 0], return_counts=True)
    return set(flat[counts >= SIZE * SIZE].tolist()) - {255}


def test_real_images_are_spread_over_their_class() -> None:
    assert spread(np.arange(10, 30), 5).tolist() == [10, 15, 20, 24, 29]
    assert spread(np.arange(3), 5).tolist() == [0, 1, 2]
    assert spread(np.arange(0), 5).tolist() == []


def test_samples_stand_beside_images_of_their_class_and_a_class_without_any_stands_alone() -> None:
    samples = Flat([0, 1, 2], 3, first=200)
    real = Flat([0] * 9 + [2] * 9, 18, first=10)
    first, third = {10, 12, 14, 16, 18}, {19, 21, 23, 25, 27}
    assert colours(beside_real(samples, real, ["a", "b", "c"])) == first | third | {200, 201, 202}


def test_without_classes_samples_stand_beside_images_of_the_whole_set() -> None:
    shown = colours(beside_real(Flat(None, 4, first=200), Flat(None, 40), []))
    assert {200, 201, 202, 203} <= shown
    assert {0, 39} <= shown


def test_nearest_images_stand_below_their_samples() -> None:
    samples, closest = Flat(None, 3, first=100).take(np.arange(3)), Flat(None, 3, first=50).take(np.arange(3))
    picture = beside_nearest(samples, closest, "train")
    assert colours(picture) == {100, 101, 102, 50, 51, 52}
