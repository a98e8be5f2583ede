"""Weights, gradients and averages are float32 under autocast; clipping sees the whole batch; the rate knows images."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from d2it.ranks.ranks import Ranks
from d2it.saved import SavedModelError
from d2it.training.batches import batch_rows, learning_rate
from d2it.training.checkpoints import Checkpoints
from d2it.training.ema import EMA, decay_at
from d2it.training.loop import train
from d2it.training.means import Means
from d2it.training.run import MicroBatch, TrainingRun, Update
from d2it.training.state import load_state, state_tensors
from d2it.training.step import Descent, NonFiniteLossError
from tests.training.test_loop import DATA, build, weights


def linear(
    folder: Path, optimizer: str = "SGD", rate: float = 1.0, **changes: object
) -> tuple[list[Update], TrainingRun]:
    """One linear layer on the toy's data, without noise or dropout; all 8 images of a step in one batch."""
    run = build(folder, **{"images": 8, "warmup_images": 0, "cooldown_images": 0} | changes)[1]
    torch.manual_seed(1)
    model = nn.Linear(6, 6)

    def loss(micro: MicroBatch, _: object) -> tuple[Tensor, dict[str, Tensor]]:
        x = DATA[torch.from_numpy(micro.rows)]
        return 10 * ((model(x) - x) ** 2).mean(), {}

    made = getattr(torch.optim, optimizer)(model.parameters(), rate)
    run.ema = EMA(model, 0.9)
    return [Update(name="toy", model=model, optimizer=made, learning_rate=rate, loss=loss)], run


def step(folder: Path, **changes: object) -> Tensor:
    """What one step of SGD at rate 1 subtracts from the weights: the clipped gradient."""
    updates, run = linear(folder, **changes)
    before = nn.utils.parameters_to_vector(updates[0].model.parameters()).detach().clone()
    train(updates, run)
    return before - nn.utils.parameters_to_vector(updates[0].model.parameters()).detach()


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 8])
def test_clipping_bounds_the_norm_of_the_whole_batchs_gradient_however_it_is_accumulated(
    tmp_path: Path, micro_batch: int
) -> None:
    whole = step(tmp_path / "unclipped", micro_batch=8, gradient_clip=0.0)
    norm = float(whole.norm())
    assert norm > 1
    for clip in (0.25, 0.5 * norm):
        clipped = step(tmp_path / f"{clip}", micro_batch=micro_batch, gradient_clip=clip)
        assert float(clipped.norm()) == pytest.approx(clip, rel=1e-4)
        torch.testing.assert_close(clipped, whole * (clip / norm), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clip", [0.0, 1e6])
def test_gradients_below_the_bound_and_without_one_are_left_alone(tmp_path: Path, clip: float) -> None:
    updates, run = linear(tmp_path / "other")
    x = DATA[torch.from_numpy(batch_rows(run.seeds.order, 0, run.params.batch_size, run.rows))]
    expected = torch.autograd.grad(10 * ((updates[0].model(x) - x) ** 2).mean(), list(updates[0].model.parameters()))
    clipped = step(tmp_path, micro_batch=2, gradient_clip=clip)
    torch.testing.assert_close(clipped, nn.utils.parameters_to_vector(expected), rtol=1e-5, atol=1e-6)


def test_weights_gradients_averages_and_optimiser_are_float32_under_bfloat16_autocast(tmp_path: Path) -> None:
    seen: set[torch.dtype] = set()
    updates, run = linear(tmp_path, "AdamW", 0.01, images=32, precision="bfloat16")
    updates[0].model.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    train(updates, run)
    assert seen == {torch.bfloat16}
    assert run.ema is not None
    tensors = state_tensors(updates, run.ema)
    assert {x.dtype for x in tensors.values()} == {torch.float32}
    assert {p.grad.dtype for p in updates[0].model.parameters() if p.grad is not None} == {torch.float32}


def test_autocast_is_a_switch(tmp_path: Path) -> None:
    seen: set[torch.dtype] = set()
    updates, run = linear(tmp_path, precision="float32")
    updates[0].model.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    train(updates, run)
    assert seen == {torch.float32}


def test_the_average_is_moved_once_per_step_by_the_decay_of_that_step(tmp_path: Path) -> None:
    updates, run = linear(tmp_path)
    before = nn.utils.parameters_to_vector(updates[0].model.parameters()).detach().clone()
    train(updates, run)
    after = nn.utils.parameters_to_vector(updates[0].model.parameters()).detach()
    assert run.ema is not None
    average = nn.utils.parameters_to_vector(run.ema.model.parameters())
    decay = decay_at(0, run.ema.decay)
    torch.testing.assert_close(average, decay * before + (1 - decay) * after)


def test_the_rate_of_a_step_is_that_of_the_images_seen_before_it(tmp_path: Path) -> None:
    rates: list[float] = []
    updates, run = build(tmp_path, log_images=8)
    run.report = lambda _, numbers: rates.append(numbers["learning_rate"])
    train(updates, run)
    p = run.params
    expected = [
        learning_rate(0.01, i, p.images, warmup=p.warmup_images, cooldown=p.cooldown_images)
        for i in range(0, p.images, 8)
    ]
    assert rates == pytest.approx(expected)


def test_a_gradient_that_is_not_finite_stops_the_run_though_the_loss_is(tmp_path: Path) -> None:
    updates, run = build(tmp_path, images=8)
    model = updates[0].model

    def loss(micro: MicroBatch, _: object) -> tuple[Tensor, dict[str, Tensor]]:
        return sum((p * 0).abs().sqrt().sum() for p in model.parameters()), {}

    updates = [Update(name="toy", model=model, optimizer=updates[0].optimizer, learning_rate=0.01, loss=loss)]
    with pytest.raises(
        NonFiniteLossError, match=r"toy's loss is 0\.0, its gradient norm nan, at step 0 .*no checkpoint"
    ):
        train(updates, run)
    assert not list(tmp_path.glob("step-*")), "the weights that it made are kept nowhere"


class Twins(Ranks):
    """Two ranks that compute the same."""

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """The mean of two equal gradients."""
        return module

    def sum(self, x: Tensor) -> Tensor:
        """Of both."""
        return x.mul_(2)


def test_the_loss_that_an_error_names_is_the_mean_over_ranks(tmp_path: Path) -> None:
    updates, run = build(tmp_path, images=8)
    run.ranks = Twins(0, 2)
    model = updates[0].model

    def loss(micro: MicroBatch, _: object) -> tuple[Tensor, dict[str, Tensor]]:
        return 3 + sum((p * 0).abs().sqrt().sum() for p in model.parameters()), {}

    descent = Descent(replace(updates[0], loss=loss), run, str)
    descent.step(0, iter([None] * 4), Means(run.device))
    with pytest.raises(NonFiniteLossError, match=r"toy's loss is 3\.0, its gradient norm nan"):
        descent.require_finite()


def test_tensors_of_another_model_are_refused_in_one_line(tmp_path: Path) -> None:
    updates, run = build(tmp_path)
    tensors = state_tensors(updates, run.ema)
    tensors["toy/model/0.weight"] = torch.zeros(16, 7)
    with pytest.raises(SavedModelError, match=r"0\.weight \[16, 7\]; expected: 0\.weight \[16, 6\]") as caught:
        load_state(updates, run.ema, tensors)
    assert "\n" not in str(caught.value)


def test_a_run_refuses_a_checkpoint_that_was_copied_from_another_one(tmp_path: Path) -> None:
    updates, run = build(tmp_path)
    run.checkpoints = Checkpoints(tmp_path, {"data": "one"})
    train(updates, run)
    updates, run = build(tmp_path)
    run.checkpoints = Checkpoints(tmp_path, {"data": "two"})
    with pytest.raises(SavedModelError, match="a checkpoint of data one; this run trains data two"):
        train(updates, run)


def test_without_a_limit_gradients_are_measured_as_with_one_that_is_never_reached(tmp_path: Path) -> None:
    free, bounded = build(tmp_path / "free", gradient_clip=0.0), build(tmp_path / "bounded", gradient_clip=1e9)
    assert train(*free) == train(*bounded)
    for ours, theirs in zip(weights(*free), weights(*bounded), strict=True):
        assert torch.equal(ours, theirs)
