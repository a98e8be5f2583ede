"""One pass over a set of images, shared by ranks, and the numbers that two measured sets give."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from d2it.data.arrays import Arrays
from d2it.evaluation.all_pairs import kid_and_precision_recall
from d2it.evaluation.extractor import Extractor, Features
from d2it.evaluation.frechet import Gaussian, frechet_distance, one_thread
from d2it.evaluation.images import Images
from d2it.evaluation.inception_score import Score
from d2it.evaluation.statistics import FeatureFile, ImageStatistics, Wanted
from d2it.ranks.in_order import in_order
from d2it.ranks.ranks import Ranks

CHUNK = 2048  # images that one rank measures at a time; fixed, so that the number of ranks changes no digit
BLOCK = 256  # images whose features are summed at once, about

Batch = TypeVar("Batch")


class Measurement(NamedTuple):
    """Of a batch."""

    features: Features
    numbers: NDArray[np.float64] | None = None  # (B, wanted.numbers): others, of each image


@dataclass(frozen=True)
class Measured:
    """What a pass finds, on rank 0; on other ranks nothing."""

    statistics: ImageStatistics
    features: FeatureFile


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two sets that are compared, as far as the chosen metrics need it."""

    pool: Gaussian | None = None
    spatial: Gaussian | None = None
    score: Score | None = None
    features: NDArray[np.floating] | None = None  # (n, width), or a `FeatureFile.rows`


@dataclass(frozen=True, kw_only=True)
class Pass:
    """How sets are gone through: memory for one chunk, whatever the number of images.

    Images are read by one thread and their features summed by another while the extractor is at work.
    """

    extractor: Extractor
    batch_size: int
    scratch: Path  # folder for features that are kept
    ranks: Ranks
    advance: Callable[[int], None] = lambda _: None  # called with the number of images that are done
    chunk: int = CHUNK

    def over(self, images: Images, wanted: Wanted) -> Measured:
        """Measure all images of a set; all ranks call this."""

        def measure(batch: NDArray[np.uint8]) -> Measurement:
            return Measurement(self.extractor(batch))

        return self.through(wanted, images.take, measure, labels=images.labels, count=len(images))

    def through(
        self, wanted: Wanted, read: Callable[[NDArray[np.int64]], Batch], measure: Callable[[Batch], Measurement], *,
        count: int, labels: NDArray[np.int64] | None = None,
    ) -> Measured:  # fmt: skip
        """Measure images 0..count-1; all ranks call this.

        Args:
            wanted: what for.
            read: image numbers (B,) -> a batch, by another thread.
            measure: a batch -> its features.
            count: N.
            labels: of all images (N,), where classes are wanted.
        """
        keep = np.zeros(count, bool)
        keep[[] if wanted.keep is None else wanted.keep] = True
        starts = range(0, count, self.chunk)

        def of_chunk(start: int) -> Arrays:
            chunk = range(start, min(start + self.chunk, count))
            statistics = ImageStatistics(wanted, count, self.extractor.width)
            kept = [np.empty((0, self.extractor.width), np.float32)]

            def add(first: int, block: list[Measurement]) -> None:
                features = _joined([one.features for one in block])
                numbers = [one.numbers for one in block if one.numbers is not None]
                rows = slice(first, first + len(features.pool))
                of_rows = None if labels is None else labels[rows]
                statistics.add(first, features, of_rows, np.concatenate(numbers) if numbers else None)
                kept.append(features.pool[keep[rows]])  # a copy: no view that would keep the block

            with one_thread():  # around both threads: the limit is the process's, and neither may lift it
                _in_another_thread(add, _blocks(chunk, self.batch_size, read, self._counted(measure)))
            return (np.concatenate(kept), *statistics.arrays())

        features = FeatureFile(self.scratch, self.extractor.width)
        merged = ImageStatistics(wanted, count, self.extractor.width)
        done = 0
        for of_features, *sums in in_order(self.ranks, starts, of_chunk):
            features.append(of_features)
            merged.merge(tuple(sums))
            del of_features, sums  # or they would wait for the next chunk to be measured
            images = min(self.chunk, count - done)
            if done // self.chunk % self.ranks.size:  # another rank's: its own were counted as they came
                self.advance(images)
            done += images
        return Measured(merged, features)

    def _counted(self, measure: Callable[[Batch], Measurement]) -> Callable[[Batch], Measurement]:
        def counted(batch: Batch) -> Measurement:
            measurement = measure(batch)
            if self.ranks.rank == 0:
                self.advance(len(measurement.features.pool))
            return measurement

        return counted


def _blocks(
    chunk: range, batch_size: int, read: Callable[[NDArray[np.int64]], Batch], measure: Callable[[Batch], Measurement]
) -> Iterator[tuple[int, list[Measurement]]]:
    """Number of the first image and measurements of a block; while a batch is measured, the next is read."""
    batches = [np.arange(i, min(i + batch_size, chunk.stop)) for i in chunk[::batch_size]]
    with ThreadPoolExecutor(1) as reader:
        coming: Future[Batch] = reader.submit(read, batches[0])
        first, block = chunk.start, list[Measurement]()
        for number, rows in enumerate(batches):
            batch = coming.result()
            if number + 1 < len(batches):
                coming = reader.submit(read, batches[number + 1])
            block.append(measure(batch))
            end = int(rows[-1]) + 1
            if end - first >= BLOCK or end == chunk.stop:
                yield first, block
                first, block = end, []


def _in_another_thread(
    work: Callable[[int, list[Measurement]], None], blocks: Iterator[tuple[int, list[Measurement]]]
) -> None:
    """work(*block) of each block, in order, while the next is made."""
    with ThreadPoolExecutor(1) as worker:
        running: Future[None] | None = None
        for block in blocks:
            if running is not None:
                running.result()
            running = worker.submit(work, *block)
        if running is not None:
            running.result()


def _joined(parts: list[Features]) -> Features:
    """Features of some batches as those of one."""
    pool, spatial, probabilities = zip(*parts, strict=True)
    return Features(
        np.concatenate(pool),
        None if spatial[0] is None else np.concatenate(spatial),
        None if probabilities[0] is None else np.concatenate(probabilities),
    )


def compare(metrics: Collection[str], samples: Side, reference: Side, neighbours: int) -> dict[str, float]:
    """The numbers of the chosen metrics but class agreement, by names that leave the extractor out.

    `neighbours`: k of precision and recall. `check_counts` has looked at the numbers of images before.

    Raises:
        NonFiniteError: features hold NaN or infinity.
    """
    numbers: dict[str, float] = {}
    if "fd" in metrics:
        assert samples.pool is not None
        assert reference.pool is not None
        numbers["fd"] = frechet_distance(reference.pool, samples.pool)
    if "sfd" in metrics:
        assert samples.spatial is not None
        assert reference.spatial is not None
        numbers["sfd"] = frechet_distance(reference.spatial, samples.spatial)
    if "inception_score" in metrics:
        assert samples.score is not None
        numbers |= {"inception_score": samples.score.mean, "inception_score_std": samples.score.deviation}
    if {"kid", "precision", "recall"} & set(metrics):
        assert samples.features is not None
        assert reference.features is not None
        estimate, shares = kid_and_precision_recall(
            reference.features, samples.features, with_kid="kid" in metrics,
            neighbours=neighbours if {"precision", "recall"} & set(metrics) else None,
        )  # fmt: skip
        if estimate is not None:
            numbers |= {"kid": estimate.value, "kid_standard_error": estimate.standard_error}
        if shares is not None:
            numbers |= {name: value for name, value in shares._asdict().items() if name in metrics}
    return numbers
