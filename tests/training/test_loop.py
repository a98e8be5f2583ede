"""Training is a pure function of its params: interruptions, micro-batches and ranks do not show in the weights."""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from numpy.typing import NDArray
from torch import Tensor, nn

from d2it.params.sections import TrainingParams
from d2it.ranks.ranks import Ranks
from d2it.ranks.stopping import Stopped
from d2it.seeds import TrainingSeeds
from d2it.training.batches import batch_rows
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.loop import MicroBatch, NonFiniteLossError, TrainingRun, Update, train

PARAMS = {
    "images": 96, "batch_size": 8, "micro_batch": 4, "warmup_images": 16, "cooldown_images": 16, "gradient_clip": 1.0,
    "precision": "float32", "log_images": 16, "checkpoint_images": 24,
}  # fmt: skip
DATA = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


class KilledError(Exception):
    """Stands for a kill: nothing of the process is left but its files."""


def build(
    folder: Path,
    ranks: Ranks | None = None,
    kill_at: int | None = None,
    poison_at: int | None = None,
    points: list[tuple[int, Mapping[str, float]]] | None = None,
    **changes: Any,
) -> tuple[list[Update], TrainingRun]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 6))
    params = TrainingParams.model_validate(PARAMS | changes)

    def loss(micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        if kill_at is not None and micro.images_seen >= kill_at:
            raise KilledError
        x = DATA[torch.from_numpy(micro.rows)]
        noise = torch.randn(x.shape, generator=micro.generator)
        value = ((model(x + noise) - x) ** 2).mean()
        if poison_at is not None and micro.images_seen >= poison_at:
            value = value * float("nan")
        return value, {"loss": value}

    adam = torch.optim.AdamW(model.parameters())
    run = TrainingRun(
        params=params, rows=len(DATA), seeds=TrainingSeeds(7, 7, 7), device=torch.device("cpu"),
        checkpoints=Checkpoints(folder),
        report=lambda seen, numbers: points.append((seen, numbers)) if points is not None else None,
        label="toy", ema=EMA(model, 0.9), ranks=ranks or Ranks(),
    )  # fmt: skip
    return [Update(name="toy", model=model, optimizer=adam, learning_rate=0.01, loss=loss)], run


def weights(updates: list[Update], run: TrainingRun) -> list[Tensor]:
    assert run.ema is not None
    return [*updates[0].model.parameters(), *run.ema.model.parameters()]


def test_the_same_run_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    assert train(*first) == train(*second)
    assert all(torch.equal(a, b) for a, b in zip(weights(*first), weights(*second), strict=True))


@pytest.mark.parametrize("kill_at", [8, 24, 48, 88])
def test_a_killed_run_goes_on_to_the_same_bytes_and_the_same_curve(tmp_path: Path, kill_at: int) -> None:
    whole = build(tmp_path / "whole")
    curve = train(*whole)
    with pytest.raises(KilledError):
        train(*build(tmp_path / "killed", kill_at=kill_at))
    resumed = build(tmp_path / "killed")
    assert train(*resumed) == curve
    assert all(torch.equal(a, b) for a, b in zip(weights(*whole), weights(*resumed), strict=True))


def test_a_broken_newest_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole")
    train(*whole)
    with pytest.raises(KilledError):
        train(*build(tmp_path / "killed", kill_at=88))
    paths = sorted((tmp_path / "killed").glob("step-*"))
    assert len(paths) == 2
    paths[-1].write_bytes(paths[-1].read_bytes()[:100])
    resumed = build(tmp_path / "killed")
    train(*resumed)
    assert all(torch.equal(a, b) for a, b in zip(weights(*whole), weights(*resumed), strict=True))


def test_a_run_without_dropout_does_not_depend_on_how_the_batch_is_cut(tmp_path: Path) -> None:
    """Micro-batches have streams of their own, so only a loss without noise can be compared."""

    def plain(folder: Path, micro_batch: int) -> list[Tensor]:
        updates, run = build(folder, micro_batch=micro_batch)
        model = updates[0].model
        model.eval()

        def loss(micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
            x = DATA[torch.from_numpy(micro.rows)]
            return ((model(x) - x) ** 2).mean(), {}

        updates = [Update(name="toy", model=model, optimizer=updates[0].optimizer, learning_rate=0.01, loss=loss)]
        train(updates, run)
        return list(model.parameters())

    for a, b in zip(plain(tmp_path / "a", 8), plain(tmp_path / "b", 2), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def _rank(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size
    )
    torch.save(shared_training(folder, Ranks(rank, size)), folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def shared_training(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """Gradients of one step, then weights and curve of a whole run; 4 micro-batches per step."""
    updates, run = build(folder / "step", ranks, images=8, micro_batch=2, gradient_clip=0, cooldown_images=0)
    train(updates, run)
    gradients = [p.grad for p in updates[0].model.parameters()]
    updates, run = build(folder / "whole", ranks, micro_batch=2)
    curve = train(updates, run)
    return {"gradients": gradients, "weights": [w.detach() for w in weights(updates, run)], "curve": curve}


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_ranks_have_the_gradients_of_one_and_train_the_same_model(tmp_path: Path, size: int) -> None:
    alone = shared_training(tmp_path / "alone", Ranks())
    assert any(float(gradient.abs().max()) > 0.01 for gradient in alone["gradients"])
    mp.spawn(_rank, (size, tmp_path), nprocs=size)
    for rank in range(size):
        of_rank = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for a, b in zip(alone["gradients"], of_rank["gradients"], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        for a, b in zip(alone["weights"], of_rank["weights"], strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
        for ours, theirs in zip(alone["curve"], of_rank["curve"], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)


def test_after_each_step_of_the_optimiser_an_update_gets_the_step_once(tmp_path: Path) -> None:
    (update,), run = build(tmp_path, images=24, cooldown_images=0)
    first = next(update.model.parameters())
    calls: list[tuple[int, float]] = []

    def after_step(step: int) -> None:
        calls.append((step, float(first.detach().sum())))

    train([replace(update, after_step=after_step)], run)
    assert [step for step, _ in calls] == [0, 1, 2]
    assert calls[-1][1] == float(first.detach().sum()), "called when the weights have moved"
    assert len({weights for _, weights in calls}) == 3


@pytest.mark.parametrize("in_two", [False, True])
def test_each_loss_gets_what_was_read_of_its_own_rows(tmp_path: Path, *, in_two: bool) -> None:
    """Also where an update joins late, one reads nothing, and a run goes on from a checkpoint."""
    run = build(tmp_path, images=48 if in_two else 96)[1]
    seen: list[tuple[str, int]] = []

    def of(name: str, read: Callable[[NDArray[np.int64]], Any] | None, starts_at: int) -> Update:
        (own,), _ = build(tmp_path)

        def loss(micro: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
            assert micro.data == (None if read is None else read(micro.rows))
            seen.append((name, micro.images_seen))
            return own.loss(micro)

        changes = {} if read is None else {"read": read}
        return replace(own, name=name, loss=loss, starts_at=starts_at, **changes)

    updates = [
        of("a", lambda rows: ("a", *rows.tolist()), 0), of("b", None, 0), of("c", lambda rows: -rows.sum(), 56),
    ]  # fmt: skip
    train(updates, run)
    if in_two:
        run.params = TrainingParams.model_validate(PARAMS)
        train(updates, run)
    assert [seen.count((name, 0)) for name in "abc"] == [2, 2, 0]
    assert [seen.count((name, 88)) for name in "abc"] == [2, 2, 2]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_rank_reads_its_own_rows_alone_and_all_ranks_read_each_step_once(tmp_path: Path, size: int) -> None:
    """To the end, and none of another rank."""
    read: list[list[int]] = []
    for rank in range(size):
        updates, run = build(tmp_path / str(rank), images=24, micro_batch=2, cooldown_images=0)
        run.ranks = Alone(rank, size)
        read.append([])
        train([replace(updates[0], read=lambda rows, rank=rank: read[rank].extend(rows))], run)
    assert [len(rows) for rows in read] == [24 // size] * size
    expected = np.concatenate([batch_rows(7, step, 8, len(DATA)) for step in range(3)])
    assert sorted(row for rows in read for row in rows) == sorted(expected)


@pytest.mark.parametrize("end", ["reader", "loss", "asked", "done"])
def test_however_training_ends_no_reader_is_left(tmp_path: Path, end: str) -> None:
    updates, run = build(tmp_path, kill_at=40 if end == "loss" else None)

    def read(rows: NDArray[np.int64]) -> None:
        if end == "reader" and 39 in rows:
            raise OSError("disk")

    if end == "asked":
        run.report = lambda *_: run.ranks.stop.ask(15)
    raised = {"reader": OSError, "loss": KilledError, "asked": Stopped}
    with pytest.raises(raised[end]) if end in raised else nullcontext():
        train([replace(updates[0], read=read)], run)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


class Alone(Ranks):
    """A rank that waits for no other."""

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Its own."""

    def sum(self, x: Tensor) -> Tensor:
        """Its own."""
        return x

    def asked_to_stop(self) -> int:
        """Never."""
        return 0


def test_micro_batches_that_ranks_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="must be a multiple of the number of ranks"):
        Ranks(0, 3).share(4)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"toy: toy's loss is nan.* at step 6 \(48 images\).* step 6 in"):
        train(*build(tmp_path, poison_at=48))


def test_points_of_the_curve_come_at_the_asked_images_and_at_the_end(tmp_path: Path) -> None:
    points: list[tuple[int, Mapping[str, float]]] = []
    curve = train(*build(tmp_path, images=88, points=points))
    assert [seen for seen, _ in points] == [16, 32, 48, 64, 80, 88] == [int(p["images"]) for p in curve]


def test_training_learns(tmp_path: Path) -> None:
    curve = train(*build(tmp_path, images=4000, log_images=400, checkpoint_images=4000, cooldown_images=0))
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
