"""Every number that an evaluation can report is described."""

import json

import pytest

from d2it.evaluation.metrics import number_name
from d2it.evaluation.protocol import HOW, protocol
from d2it.size import Size
from d2it.weights import PERCEPTUAL
from tests.smallest import changed

SIDES = ("samples", "reference", "reference_kept", "train", "validation", "reconstructions", "real_grain_maps")


@pytest.mark.parametrize("perceptual", PERCEPTUAL)
def test_numbers_of_every_perceptual_distance_are_described(perceptual: str) -> None:
    params = changed({"dvae.perceptual": perceptual, "dvae.perceptual_weight": 1.0})
    named = [f"reconstruction_{name}" for name in ("psnr", "ssim", perceptual)]
    named += [number_name(name, params.fid.extractor) for name in HOW]
    written = protocol(params, named, images=dict.fromkeys(SIDES, 8), extractor="e", size=Size.of(32), data="d")
    numbers = json.loads(written)["numbers"]
    assert set(numbers) == set(named)
    assert all(about["how"] and about["images"] for about in numbers.values())
