"""Pictures of samples beside real images: of the same class, and the most similar ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from d2it import pictures, sample_pictures
from d2it.evaluation.images import Images


def beside_nearest(
    samples: NDArray[np.uint8], closest: NDArray[np.uint8], half: str, pixels: int = 128
) -> NDArray[np.uint8]:
    """Samples (n, H, W, 3) above the real images most similar to each, of the half named; shown about `pixels` wide."""
    return pictures.grid(
        [samples, closest], ["sample", f"nearest {half} image"], scale=max(1, pixels // samples.shape[2])
    )


def beside_real(samples: Images, real: Images, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Class by class, real images spread over the class on the left, the first samples on the right.

    Without `classes` the rows are just the first samples, and as many real images. A class without real images has a
    row of samples alone.
    """
    of_samples, of_real = (_labels(images, classes) for images in (samples, real))
    drawn = sample_pictures.rows_by_class(of_samples)
    labels = [of_samples[row[0]] for row in drawn]
    shown = [spread(np.flatnonzero(of_real == label), sample_pictures.EACH) for label in labels]
    if not classes:
        rows = spread(np.arange(len(real)), sum(map(len, drawn)))
        shown = np.array_split(rows, len(drawn))
    return sample_pictures.side_by_side(
        [real.take(row) for row in shown], [samples.take(row) for row in drawn],
        [classes[label] for label in labels] if classes else [], ("real images", "samples"),
    )  # fmt: skip


def spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of `rows`, at even distances, the first and the last among them."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64)]


def _labels(images: Images, classes: Sequence[str]) -> NDArray[np.int64]:
    return images.labels if classes and images.labels is not None else np.zeros(len(images), np.int64)
