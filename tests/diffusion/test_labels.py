"""Label dropout: one coin per image, and an unconditional model knows one label."""

import pytest
import torch

from d2it.diffusion.labels import drop_labels


def test_each_label_is_dropped_by_a_coin_of_its_own() -> None:
    labels = torch.arange(4000) % 10
    dropped = drop_labels(labels, 0.1, 10, torch.rand(4000, generator=torch.Generator().manual_seed(0)))
    share = float((dropped == 10).float().mean())
    assert share == pytest.approx(0.1, abs=0.02)
    assert torch.equal(dropped[dropped != 10], labels[dropped != 10])


def test_share_0_drops_nothing() -> None:
    labels = torch.arange(10)
    assert torch.equal(drop_labels(labels, 0.0, 10, torch.zeros(10)), labels)


def test_an_unconditional_model_always_gets_no_class() -> None:
    assert drop_labels(torch.tensor([3, 5]), 0.0, 0, torch.zeros(2)).tolist() == [0, 0]
