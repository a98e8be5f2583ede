"""Stages on several ranks, real processes over gloo: the bytes of one process; with trained ones, nearly."""

import json
import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from d2it.data.arrays import Arrays
from d2it.data.parts import Parts
from d2it.params.load import check_params
from d2it.params.sections import Params
from d2it.ranks.ranks import Ranks
from stages import encode_latents, fid, prepare, sample, train_content, train_dvae, train_grain
from stages.entry import write_metrics
from stages.stage import NAMES, Stage
from tests.smallest import smallest_params

pytestmark = pytest.mark.slow
MAINS = dict(zip(NAMES, (prepare, train_dvae, encode_latents, train_grain, train_content, sample, fid), strict=True))
TRAINED = ("train_dvae", "train_grain", "train_content")
SHARED = ("prepare", "encode_latents", "sample", "fid")
DEADLINE = timedelta(seconds=120)


def params(regularizer: str = "kl") -> Params:
    """Each of three stages has 3 batches, of which the last is smaller where it can be: uneven rounds for 2 ranks,
    and for 4 more ranks than batches."""
    values = smallest_params()
    values["dvae"]["regularizer"] = regularizer
    values["sample"] |= {"images": 10, "batch_size": 4}
    values["fid"] |= {"batch_size": 3}
    return check_params(values)


def nothing(*_: object) -> None:
    """A report that nobody reads."""


def run(
    name: str, folder: Path, ranks: Ranks, *, regularizer: str = "kl", report: Callable[..., None] = nothing
) -> Mapping[str, float]:
    """One stage, into folder/outputs; returns its final numbers."""
    stage = Stage(
        name=name,
        params=params(regularizer),
        outputs=folder / "outputs",
        scratch=folder / "scratch" / name,
        weights=folder,
        device=torch.device("cpu"),
        ranks=ranks,
        report=report,
    )
    stage.out.mkdir(parents=True, exist_ok=True)
    numbers = MAINS[name].main(stage)
    if stage.main_rank:
        write_metrics(stage.out / "metrics.json", numbers)
    return numbers


def contents(outputs: Path, names: tuple[str, ...] = SHARED) -> dict[str, bytes]:
    """Every file of some stages."""
    paths = sorted(path for name in names for path in (outputs / name).rglob("*") if path.is_file())
    return {str(path.relative_to(outputs)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages by one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name in NAMES:
        run(name, folder, Ranks())
    return folder


def inputs(alone: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Give `folder` the outputs of some stages."""
    (folder / "outputs").mkdir(parents=True)
    for name in names:
        (folder / "outputs" / name).symlink_to(alone / "outputs" / name)


def join(rank: int, size: int, folder: Path) -> Ranks:
    """Be one of `size` processes."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size, timeout=DEADLINE)
    return Ranks(rank, size)


def _share(rank: int, size: int, folder: Path) -> None:
    ranks = join(rank, size, folder)
    for name in SHARED:
        run(name, folder, ranks)
        dist.barrier()  # the next stage reads what rank 0 writes last
    stamp = (folder / "outputs" / "fid" / "reference.npz").stat().st_mtime_ns
    run("fid", folder, ranks)  # with the reference's statistics there
    assert (folder / "outputs" / "fid" / "reference.npz").stat().st_mtime_ns == stamp
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_several_ranks_write_the_same_bytes_as_one(alone: Path, tmp_path: Path, size: int) -> None:
    inputs(alone, tmp_path, tuple(name for name in NAMES if name not in SHARED))
    mp.spawn(_share, (size, tmp_path), nprocs=size)
    assert contents(tmp_path / "outputs") == contents(alone / "outputs")


def _train(rank: int, size: int, folder: Path) -> None:
    ranks = join(rank, size, folder)
    for name in TRAINED:
        assert bool(run(name, folder / name, ranks)) == (rank == 0)
    dist.destroy_process_group()


def test_training_on_two_ranks_ends_where_one_process_does(alone: Path, tmp_path: Path) -> None:
    """Gradients differ by their rounding alone, which a few steps of Adam do not make much of."""
    for name in TRAINED:
        inputs(alone, tmp_path / name, NAMES[: NAMES.index(name)])
    mp.spawn(_train, (2, tmp_path), nprocs=2)
    for name in TRAINED:
        trained, expected = (contents(folder / "outputs", (name,)) for folder in (tmp_path / name, alone))
        assert trained.keys() == expected.keys()
        metrics = f"{name}/metrics.json"
        assert json.loads(trained[metrics]) == pytest.approx(json.loads(expected[metrics]), rel=1e-3), name


def _train_vq(rank: int, size: int, folder: Path) -> None:
    run("train_dvae", folder, join(rank, size, folder), regularizer="vq")
    dist.destroy_process_group()


class KilledError(Exception):
    """Stands for a kill: nothing of the process is left but its files."""


def test_a_codebook_learns_the_same_on_one_rank_on_two_and_after_a_kill(alone: Path, tmp_path: Path) -> None:
    """To the byte: a step has two micro-batches, whose gradients have one sum."""
    for place in ("one", "two", "killed"):
        inputs(alone, tmp_path / place, ("prepare",))
    run("train_dvae", tmp_path / "one", Ranks(), regularizer="vq")
    expected = contents(tmp_path / "one" / "outputs", ("train_dvae",))

    mp.spawn(_train_vq, (2, tmp_path / "two"), nprocs=2)
    assert contents(tmp_path / "two" / "outputs", ("train_dvae",)) == expected

    def kill(seen: int, *_: object) -> None:
        if seen == 24:  # a step after the checkpoint
            raise KilledError

    with pytest.raises(KilledError):
        run("train_dvae", tmp_path / "killed", Ranks(), regularizer="vq", report=kill)
    run("train_dvae", tmp_path / "killed", Ranks(), regularizer="vq")
    assert contents(tmp_path / "killed" / "outputs", ("train_dvae",)) == expected


def _sample_until_killed(rank: int, size: int, folder: Path) -> None:
    ranks = join(rank, size, folder)
    save = Parts.save

    def save_and_die(self: Parts, number: int, arrays: Arrays) -> None:
        save(self, number, arrays)
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    Parts.save = save_and_die  # type: ignore[method-assign]
    run("sample", folder, ranks)


def test_sampling_that_was_killed_goes_on_with_what_it_lacks_to_the_same_bytes(alone: Path, tmp_path: Path) -> None:
    inputs(alone, tmp_path, NAMES[:5])
    spawned = mp.get_context("spawn")
    processes = [spawned.Process(target=_sample_until_killed, args=(rank, 2, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE.total_seconds() / 2)
    assert processes[0].exitcode == -signal.SIGKILL
    assert processes[1].exitcode not in (None, 0), "the other rank ends too, and long before the deadline"

    parts = Parts(tmp_path / "scratch" / "sample")
    assert [parts.has(start) for start in (0, 4, 8)] == [True, True, False]
    parts.path(0).write_bytes(parts.path(0).read_bytes()[:-1])
    stamp = parts.path(4).stat().st_mtime_ns
    run("sample", tmp_path, Ranks())
    assert contents(tmp_path / "outputs", ("sample",)) == contents(alone / "outputs", ("sample",))
    assert parts.path(4).stat().st_mtime_ns == stamp
