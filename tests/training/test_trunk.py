"""A longer training begins with what a shorter one has left, and gives the bytes of one from the start."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from d2it.params.sections import TrainingParams
from d2it.ranks.ranks import Ranks
from d2it.training.batches import learning_rate, trunk_step
from d2it.training.checkpoints import Checkpoints, Trunk
from d2it.training.loop import Curve, train
from d2it.training.run import TrainingRun, Update
from tests.training.test_loop import PARAMS, KilledError, build, weights

Points = list[tuple[int, Any]]


def of_length(root: Path, name: str, **changes: Any) -> tuple[list[Update], TrainingRun]:
    """A training with folders as the stages have them, below `root`."""
    updates, run = build(root / name, **changes)
    trunk = Trunk(folder=root / "trunks", own=name, step=trunk_step(run.params))
    run.checkpoints = Checkpoints(root / name, trunk=trunk)
    return updates, run


def result(updates: list[Update], run: TrainingRun) -> tuple[Curve, list[Tensor]]:
    return train(updates, run), weights(updates, run)


def same(one: tuple[Curve, list[Tensor]], other: tuple[Curve, list[Tensor]]) -> bool:
    return one[0] == other[0] and all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"images": 96}, {"images": 160}),
        ({"images": 96}, {"images": 160, "cooldown_images": 64}),
        ({"images": 96, "cooldown_images": 0}, {"images": 160, "cooldown_images": 0}),
        ({"images": 92, "cooldown_images": 0}, {"images": 160, "cooldown_images": 0}),  # ends between two points
        ({"images": 96}, {"images": 88, "cooldown_images": 0}),  # shorter, but not than what they share
        ({"images": 96}, {"images": 96, "checkpoint_images": 8}),
    ],
)
def test_an_extended_training_has_the_bytes_and_the_curve_of_one_from_the_start(
    tmp_path: Path, first: dict[str, Any], then: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from_start = result(*of_length(tmp_path / "alone", "then", **then))
    train(*of_length(tmp_path, "first", **first))
    capsys.readouterr()
    points: Points = []
    extended = result(*of_length(tmp_path, "then", points=points, kill_at=None, **then))
    assert "of a training that differs in its length alone" in capsys.readouterr().out
    assert same(extended, from_start)
    assert [seen for seen, _ in points] == [point["images"] for point in from_start[0]]  # MLflow gets the whole curve


def test_an_extended_training_computes_only_what_is_missing(tmp_path: Path) -> None:
    train(*of_length(tmp_path, "first"))
    with pytest.raises(KilledError):
        train(*of_length(tmp_path, "then", images=160, kill_at=88))
    written = {path.name for path in (tmp_path / "then").glob("step-*")}
    assert written == {"step-000000010.safetensors"} or not written  # none of the steps before 80 images again


def test_a_training_that_is_asked_for_again_does_not_begin_with_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(*of_length(tmp_path, "one"))
    for path in (tmp_path / "one").iterdir():
        path.unlink()
    train(*of_length(tmp_path, "one"))
    assert "going on" not in capsys.readouterr().out


def test_what_lies_past_the_shared_part_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(*of_length(tmp_path, "long", images=160))
    train(*of_length(tmp_path, "short", images=48))
    assert "going on" not in capsys.readouterr().out


def test_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    from_start = result(*of_length(tmp_path / "alone", "then", images=160))
    train(*of_length(tmp_path, "first"))
    [path] = (tmp_path / "trunks").rglob("step-*")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-100] + bytes(100))
    assert same(result(*of_length(tmp_path, "then", images=160)), from_start)


def _rank(rank: int, folder: Path) -> None:
    """Rank 1 alone sees what another training has just left."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    updates, run = of_length(folder / str(rank), "then", images=160, ranks=Ranks(rank, 2))
    curve = train(updates, run)
    torch.save({"weights": weights(updates, run), "points": len(curve)}, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def test_ranks_start_where_rank_0_does_though_another_training_leaves_its_own_meanwhile(tmp_path: Path) -> None:
    train(*of_length(tmp_path / "1", "first"))
    mp.spawn(_rank, (tmp_path,), nprocs=2)
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert one["points"] == other["points"] == 10
    assert all(torch.equal(a, b) for a, b in zip(one["weights"], other["weights"], strict=True))


@pytest.mark.parametrize("images", [7, 64, 96, 1000])
@pytest.mark.parametrize("cooldown", [0, 16, 60])
@pytest.mark.parametrize("log_images", [5, 8, 16, 500])
def test_up_to_it_the_learning_rate_is_that_of_a_training_without_end(
    images: int, cooldown: int, log_images: int
) -> None:
    params = TrainingParams.model_validate(
        PARAMS | {"images": images, "cooldown_images": cooldown, "log_images": log_images}
    )
    step, B = trunk_step(params), params.batch_size
    assert 0 <= step <= params.steps
    assert step == 0 or (step * B // log_images) > ((step - 1) * B // log_images)  # a point of the curve
    for seen in range(0, step * B, B):
        rates = (learning_rate(1.0, seen, total, warmup=16, cooldown=cooldown) for total in (images, 10**9))
        assert len(set(rates)) == 1
