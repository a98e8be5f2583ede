"""Real and random grain maps are those of the label's own class."""

from pathlib import Path

import numpy as np
import pytest
import torch

from d2it.data.latents import Latents, LatentWriter
from d2it.diffusion.grain_source import RandomMaps, RealMaps
from d2it.diffusion.noise import ImageStreams
from d2it.errors import UserError
from d2it.size import Size

CPU = torch.device("cpu")
LABELS = np.array([2, 0, 2, 0, 0, 3] * 5)
FINE = {0: 0.1, 2: 0.9, 3: 0.5}  # class 1 has no image


@pytest.fixture
def latents(tmp_path: Path) -> Latents:
    """Thirty rows whose maps name their class: its number of fine regions."""
    maps = np.stack([(np.arange(16) < 3 * label + 1).reshape(4, 4) for label in LABELS]).astype(np.uint8)
    with LatentWriter(tmp_path, rows=len(LABELS), latent_channels=1, region_grid=Size.of(4), copies=[2, 1]) as writer:
        codes = maps.size + 3 * int(maps.sum())
        writer.append(np.zeros((codes, 2, 1), np.float16), maps, LABELS)
    return Latents(tmp_path)


def streams(count: int) -> ImageStreams:
    return ImageStreams(range(count), CPU)


def test_real_maps_are_of_training_images_of_the_label(latents: Latents) -> None:
    labels = torch.tensor([0, 2, 3] * 100)
    fine = RealMaps(latents).draw(labels, streams(300)).sum((1, 2))
    assert torch.equal(fine, 3 * labels + 1)


def test_all_images_of_a_class_are_drawn(latents: Latents) -> None:
    numbered = RealMaps(latents)
    numbered._latents.take_maps = lambda rows, device: (torch.from_numpy(rows), torch.empty(0))  # type: ignore[method-assign]
    drawn = numbered.draw(torch.zeros(400, dtype=torch.int64), streams(400))
    assert sorted(set(drawn.tolist())) == np.flatnonzero(LABELS == 0).tolist()


def test_random_maps_have_the_fine_ratio_of_the_label() -> None:
    regions = np.array([[(1 - FINE.get(label, 0)), FINE.get(label, 0)] for label in range(4)]) * 1000
    regions[1] = 0
    labels = torch.tensor([0, 2, 3] * 100)
    maps = RandomMaps(regions, Size.of(8)).draw(labels, streams(300))
    for label, ratio in FINE.items():
        assert float(maps[labels == label].float().mean()) == pytest.approx(ratio, abs=0.02)


@pytest.mark.parametrize("label", [1, 4])
def test_a_class_without_training_images_is_refused(latents: Latents, label: int) -> None:
    regions = np.array([[1.0, 1], [0, 0], [1, 1], [1, 1]])
    for source in (RealMaps(latents), RandomMaps(regions, Size.of(4))):
        with pytest.raises(UserError, match=f"class {label} has no training image"):
            source.draw(torch.tensor([0, label]), streams(2))
