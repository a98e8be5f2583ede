"""Previews are drawn at checkpoints, and a training does not notice them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from d2it.errors import NonFiniteError
from d2it.training.loop import train
from d2it.training.preview import undisturbed
from tests.training.test_loop import build, weights

CPU = torch.device("cpu")


def trained(folder: Path, preview: Callable[[int], None] | None) -> list[torch.Tensor]:
    updates, run = build(folder)
    run = replace(run, preview=preview)
    train(updates, run)
    return weights(updates, run)


def test_a_preview_comes_at_each_checkpoint_but_the_last_and_changes_no_byte(tmp_path: Path) -> None:
    seen = []

    def preview(images: int) -> None:
        seen.append(images)
        torch.manual_seed(images)
        torch.randn(7)

    without, with_it = trained(tmp_path / "a", None), trained(tmp_path / "b", preview)
    assert seen == [24, 48, 72]
    assert all(torch.equal(a, b) for a, b in zip(without, with_it, strict=True))


def test_a_preview_sees_the_model_in_evaluation_mode_and_leaves_modes_and_random_state() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3).eval())
    state = torch.get_rng_state()
    with undisturbed([model], CPU):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        torch.randn(3)
    assert [module.training for module in model.modules()] == [True, True, False]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "error", [NonFiniteError("images hold NaN"), torch.OutOfMemoryError("no memory"), ValueError("2 images: too few")]
)
def test_a_preview_that_fails_is_a_line_and_ends_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def preview(_: int) -> None:
        raise error

    without = trained(tmp_path / "a", None)
    assert all(torch.equal(a, b) for a, b in zip(without, trained(tmp_path / "b", preview), strict=True))
    assert f"toy: no preview at 24 images: {error}" in capsys.readouterr().out


def test_progress_shows_the_newest_point_of_the_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    updates, run = build(tmp_path)
    curve = train(updates, replace(run, shown=("loss", "nothing")))
    assert capsys.readouterr().err.splitlines()[-1].endswith(f", loss {curve[-1]['loss']:.4g}")
    assert run.shown_of(curve[-1]) == {}
