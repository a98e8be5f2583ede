"""Training is a pure function of its params: interruptions, micro-batches and ranks do not show in the weights."""

import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from d2it.params.sections import TrainingParams
from d2it.ranks.ranks import Ranks
from d2it.ranks.stopping import Stopped
from d2it.seeds import TrainingSeeds
from d2it.training.batches import batch_rows
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA
from d2it.training.loop import train
from d2it.training.run import MicroBatch, TrainingRun, Update
from d2it.training.step import NonFiniteLossError

PARAMS = {
    "images": 96, "batch_size": 8, "warmup_images": 16, "cooldown_images": 16, "gradient_clip": 1.0,
    "precision": "float32", "log_images": 16, "checkpoint_images": 24,
}  # fmt: skip
DATA = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


class KilledError(Exception):
    """Stands for a kill: nothing of the process is left but its files."""


def build(
    folder: Path, ranks: Ranks | None = None, kill_at: int | None = None, poison_at: int | None = None,
    points: list[tuple[int, Mapping[str, float]]] | None = None, micro_batch: int = 4, dropout: float = 0.3,
    **changes: Any,
) -> tuple[list[Update], TrainingRun]:  # fmt: skip
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 6))
    params = TrainingParams.model_validate(PARAMS | changes)

    def loss(micro: MicroBatch, _: object) -> tuple[Tensor, dict[str, Tensor]]:
        if kill_at is not None and micro.images_seen >= kill_at:
            raise KilledError
        x = DATA[torch.from_numpy(micro.rows)]
        noise = micro.streams().normal(x.shape[1:])
        value = ((model(x + noise) - x) ** 2).mean()
        if poison_at is not None and micro.images_seen >= poison_at:
            value = value * float("nan")
        return value, {"loss": value}

    adam = torch.optim.AdamW(model.parameters())
    run = TrainingRun(
        params=params, micro_batch=micro_batch, rows=len(DATA), seeds=TrainingSeeds(7, 7, 7),
        device=torch.device("cpu"), checkpoints=Checkpoints(folder),
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


@pytest.mark.parametrize("micro_batch", [1, 3, 5, 8, 100])
def test_over_50_steps_the_result_does_not_depend_on_how_the_batch_is_cut_but_for_rounding(
    tmp_path: Path, micro_batch: int
) -> None:
    """Noise and rows are an image's own; micro-batches of unequal sizes count by their images."""
    changes = {"images": 400, "dropout": 0.0, "log_images": 80}
    whole, cut = (
        build(tmp_path / "whole", micro_batch=4, **changes),
        build(tmp_path / "cut", micro_batch=micro_batch, **changes),
    )
    curve, other = train(*whole), train(*cut)
    for a, b in zip(weights(*whole), weights(*cut), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=0)
    for ours, theirs in zip(curve, other, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_the_same_cut_gives_the_same_bytes_with_dropout_too_and_another_cut_other_masks(tmp_path: Path) -> None:
    one, same, other = (build(tmp_path / str(i), micro_batch=n) for i, n in enumerate((4, 4, 2)))
    for run in (one, same, other):
        train(*run)
    assert all(torch.equal(a, b) for a, b in zip(weights(*one), weights(*same), strict=True))
    assert not torch.allclose(weights(*one)[0], weights(*other)[0], atol=1e-4)


def test_an_images_draws_are_its_own_whatever_is_beside_it(tmp_path: Path) -> None:
    def drawn(micro_batch: int, ranks: int) -> list[tuple[int, tuple[float, ...]]]:
        """Row and noise of all images of a step, in their order."""
        images = []
        for rank in range(ranks):
            _, run = build(tmp_path, Ranks(rank, ranks), micro_batch=micro_batch)
            for micro in run.micro_batches(3, "toy"):
                noise = micro.streams().normal((5,))
                images += [(row, tuple(x.tolist())) for row, x in zip(micro.rows.tolist(), noise, strict=True)]
        return images

    assert len({noise for _, noise in drawn(8, 1)}) == 8
    assert drawn(3, 1) == drawn(1, 2) == drawn(2, 4) == drawn(8, 1)


def _rank(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size
    )
    torch.save(shared_training(folder, Ranks(rank, size)), folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def shared_training(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """Gradients of one step, then weights and curve of a whole run, and of 50 steps in other micro-batches."""
    updates, run = build(folder / "step", ranks, images=8, micro_batch=2, gradient_clip=0, cooldown_images=0)
    train(updates, run)
    gradients = [p.grad.clone() for p in updates[0].model.parameters() if p.grad is not None]
    updates, run = build(folder / "whole", ranks, micro_batch=2)
    curve = train(updates, run)
    whole = [w.detach() for w in weights(updates, run)]
    changes: dict[str, Any] = {"micro_batch": 3 - ranks.size // 2, "images": 400, "dropout": 0.0}
    both = [build(folder / name, ranks, **changes) for name in ("long", "again")]
    for one in both:
        train(*one)
    long, again = ([w.detach() for w in weights(*one)] for one in both)
    same = all(torch.equal(a, b) for a, b in zip(long, again, strict=True))
    return {"gradients": gradients, "weights": whole, "curve": curve, "long": long, "same": same}


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
        for a, b in zip(alone["long"], of_rank["long"], strict=True):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=0)
        assert of_rank["same"], "equal ranks and micro-batches, equal bytes"


def test_after_each_step_of_the_optimiser_an_update_gets_the_step_once(tmp_path: Path) -> None:
    (update,), run = build(tmp_path, images=24, cooldown_images=0)
    first = next(update.model.parameters())
    calls: list[tuple[int, float]] = []

    def after_step(step: int) -> dict[str, Tensor]:
        calls.append((step, float(first.detach().sum())))
        return {"of_the_step": torch.tensor(float(step))}

    curve = train([replace(update, after_step=after_step)], run)
    assert [point["of_the_step"] for point in curve] == [0.5, 2.0], "means of its numbers since the point before"
    assert [step for step, _ in calls] == [0, 1, 2]
    assert calls[-1][1] == float(first.detach().sum()), "called when the weights have moved"
    assert len({weights for _, weights in calls}) == 3


@pytest.mark.parametrize("in_two", [False, True])
def test_each_loss_gets_what_was_read_of_its_own_rows(tmp_path: Path, *, in_two: bool) -> None:
    """Also where an update joins late, one reads nothing, and a run goes on from a checkpoint."""
    run = build(tmp_path, images=48 if in_two else 96)[1]
    seen: list[tuple[str, int]] = []

    def of(name: str, read: Callable[[MicroBatch], Any] | None, starts_at: int) -> Update:
        (own,), _ = build(tmp_path)

        def loss(micro: MicroBatch, data: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
            assert data == (None if read is None else read(micro))
            seen.append((name, micro.images_seen))
            return own.loss(micro, data)

        changes = {} if read is None else {"read": read}
        return replace(own, name=name, loss=loss, starts_at=starts_at, **changes)

    updates = [
        of("a", lambda micro: ("a", *micro.rows.tolist()), 0), of("b", None, 0),
        of("c", lambda micro: -micro.rows.sum(), 56),
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
        train([replace(updates[0], read=lambda micro, rank=rank: read[rank].extend(micro.rows))], run)
    assert [len(rows) for rows in read] == [24 // size] * size
    expected = np.concatenate([batch_rows(7, step, 8, len(DATA)) for step in range(3)])
    assert sorted(row for rows in read for row in rows) == sorted(expected)


@pytest.mark.parametrize("end", ["reader", "loss", "asked", "done"])
def test_however_training_ends_no_reader_is_left(tmp_path: Path, end: str) -> None:
    updates, run = build(tmp_path, kill_at=40 if end == "loss" else None)

    def read(micro: MicroBatch) -> None:
        if end == "reader" and 39 in micro.rows:
            raise OSError("disk")

    if end == "asked":
        run.report = lambda *_: run.ranks.stop.ask(15)
    raised = {"reader": OSError, "loss": KilledError, "asked": Stopped}
    with pytest.raises(raised[end]) if end in raised else nullcontext():
        train([replace(updates[0], read=read)], run)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


class Alone(Ranks):
    """A rank that waits for no other."""

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """Its own gradients."""
        return module

    def sum(self, x: Tensor) -> Tensor:
        """Its own."""
        return x

    def broadcast(self, x: Tensor) -> Tensor:
        """Its own."""
        return x

    def asked_to_stop(self) -> int:
        """Never."""
        return 0


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 4 cannot be shared by 3 ranks: must be a multiple"):
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
