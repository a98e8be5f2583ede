"""One pass over a set: the same bytes for any number of ranks, in any chunks nearly, and memory for one chunk."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from numpy.typing import NDArray

from d2it.data.samples import Samples
from d2it.evaluation import measure
from d2it.evaluation.all_pairs import kid, precision_recall
from d2it.evaluation.extractor import Features
from d2it.evaluation.frechet import GaussianStatistics, frechet_distance
from d2it.evaluation.measure import Measured, Measurement, Pass, Side, compare
from d2it.evaluation.metrics import EvaluationError, check_counts, number_name
from d2it.evaluation.statistics import Wanted
from d2it.ranks.ranks import Ranks

N, WIDTH = 53, 6
IMAGES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), np.uint8)
LABELS = np.arange(N) % 3
KEEP = np.array([0, 5, 6, 30, 52])


class Projection:
    """An extractor that costs nothing."""

    name, width, identity = "inception", WIDTH, "inception of a test 1"

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        flat = images.reshape(len(images), -1).astype(np.float32) / 255
        weights = np.random.default_rng(1).normal(size=(flat.shape[1], WIDTH)).astype(np.float32)
        spatial = np.repeat(flat[:, :7], 17 * 17, 1)
        probabilities = np.tile(flat[:, :21], 48)
        return Features(flat @ weights, spatial, probabilities / probabilities.sum(1, keepdims=True))


ALL = Wanted(pool=True, spatial=True, score=True, classes=3, keep=KEEP)


def run(
    folder: Path, ranks: Ranks | None = None, wanted: Wanted = ALL, *, batch_size: int = 4, chunk: int = 16,
    advance: Callable[[int], None] = lambda _: None,
) -> Measured:  # fmt: skip
    path = folder / "samples.npz"
    if not path.exists():
        np.savez(path, IMAGES, LABELS)
    made = Pass(
        extractor=Projection(), batch_size=batch_size, scratch=folder, ranks=ranks or Ranks(), chunk=chunk,
        advance=advance,
    )  # fmt: skip
    return made.over(Samples(path), wanted)


def digest(measured: Measured) -> str:
    hashed = hashlib.sha256(measured.features[:].tobytes())
    for array in measured.statistics.arrays():
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def test_a_pass_finds_what_all_images_at_once_give(tmp_path: Path) -> None:
    done: list[int] = []
    measured = run(tmp_path, advance=done.append)
    features = Projection()(IMAGES)
    of_pool = GaussianStatistics(WIDTH)
    of_pool.add(features.pool)
    assert measured.statistics.pool is not None
    ours, theirs = measured.statistics.pool.gaussian(), of_pool.gaussian()
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-6)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(measured.features[:], features.pool[KEEP], rtol=1e-5, atol=1e-6)
    assert measured.statistics.classes is not None
    assert measured.statistics.classes.arrays()[0].tolist() == np.bincount(LABELS).tolist()
    assert sum(done) == N
    assert max(done) == 4, "progress comes with each batch, not with each chunk"


@pytest.mark.parametrize(("batch_size", "chunk"), [(1, 16), (7, 16), (64, 64), (4, 5)])
def test_batches_and_chunks_change_no_more_than_rounding(tmp_path: Path, batch_size: int, chunk: int) -> None:
    one, other = run(tmp_path), run(tmp_path, batch_size=batch_size, chunk=chunk)
    np.testing.assert_allclose(other.features[:], one.features[:], rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(other.statistics.arrays(), one.statistics.arrays(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_blocks_that_are_summed_at_once_may_be_of_several_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = run(tmp_path)
    monkeypatch.setattr(measure, "BLOCK", 6)
    other = run(tmp_path)
    np.testing.assert_array_equal(other.features[:], one.features[:])
    for ours, theirs in zip(other.statistics.arrays(), one.statistics.arrays(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def _share(rank: int, size: int, folder: Path, expected: str) -> None:
    rendezvous = f"file://{folder / f'rendezvous-{size}'}"
    limit = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size, timeout=limit)
    done: list[int] = []
    measured = run(folder, Ranks(rank, size), advance=done.append)
    if rank == 0:
        assert digest(measured) == expected
        assert sum(done) == N
    else:
        assert len(measured.features) == 0
    dist.destroy_process_group()


@pytest.mark.slow
def test_several_ranks_give_the_bytes_of_one(tmp_path: Path) -> None:
    """Three ranks of four chunks: one has two, the others one."""
    size = 3
    mp.spawn(_share, (size, tmp_path, digest(run(tmp_path))), nprocs=size)


def test_an_error_in_any_thread_ends_the_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Pass(extractor=Projection(), batch_size=4, scratch=tmp_path, ranks=Ranks())

    def broken(_: object) -> NDArray[np.uint8]:
        raise KeyError("unreadable")

    def measured(batch: NDArray[np.uint8]) -> Measurement:
        return Measurement(Projection()(batch))

    with pytest.raises(KeyError, match="unreadable"):
        made.through(ALL, broken, measured, count=N, labels=LABELS)
    with pytest.raises(ValueError, match="broadcast"):  # in the thread that sums
        made.through(ALL, IMAGES.__getitem__, measured, count=N, labels=LABELS + 1000)


def test_other_numbers_of_each_image_come_out_as_means(tmp_path: Path) -> None:
    made = Pass(extractor=Projection(), batch_size=4, scratch=tmp_path, ranks=Ranks(), chunk=16)
    rows = np.arange(N)

    def measured(batch: NDArray[np.int64]) -> Measurement:
        return Measurement(Projection()(IMAGES[batch]), np.stack([batch, batch**2], 1).astype(float))

    means = made.through(Wanted(numbers=2), rows.__getitem__, measured, count=N).statistics.means
    np.testing.assert_allclose(means, [rows.mean(), (rows**2).mean()])


def test_the_chosen_numbers_are_those_of_the_metrics_themselves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(n, 4)).astype(np.float32) for n in (30, 40))
    pools = []
    for features in (a, b):
        statistics = GaussianStatistics(4)
        statistics.add(features)
        pools.append(statistics.gaussian())
    samples, reference = (Side(pool=pool, features=x) for pool, x in zip(pools, (a, b), strict=True))
    numbers = compare(["fd", "kid", "recall"], samples, reference, 3)
    assert numbers == {
        "fd": frechet_distance(pools[1], pools[0]),
        "kid": kid(b, a).value,
        "kid_standard_error": kid(b, a).standard_error,
        "recall": precision_recall(b, a, 3).recall,
    }


@pytest.mark.parametrize(
    ("metrics", "samples", "real", "message"),
    [
        (["fd"], 1, 9, "samples: 1 images: a Frechet distance needs at least 2"),
        (["kid"], 9, 2, "real: 2 images: KID needs at least 3"),
        (["recall"], 9, 3, "neighbours = 3: must be below the 3 images of real"),
        (["inception_score"], 9, 99, "samples: 9 images: an Inception score needs at least 10, its splits"),
        (["inception_score", "fd", "kid", "precision"], 10, 4, None),
    ],
)
def test_too_few_images_are_refused(metrics: list[str], samples: int, real: int, message: str | None) -> None:
    counts = {"samples": samples, "real": real}
    if message is None:
        check_counts(metrics, counts, 3)
        return
    with pytest.raises(EvaluationError) as error:
        check_counts(metrics, counts, 3)
    assert str(error.value) == message


def test_numbers_have_the_names_of_papers_with_inception_alone() -> None:
    names = ("fd", "sfd", "rfd", "kid", "kid_standard_error", "precision", "class_agreement_validation")
    inception = ["fid", "sfid", "rfid", "kid", "kid_standard_error", "precision", "class_agreement_validation"]
    assert [number_name(name, "inception") for name in names] == inception
    others = [number_name(name, "dinov2") for name in names]
    assert others[3:5] == ["kid_dinov2", "kid_dinov2_standard_error"]
    assert not any("fid" in name for name in others)
