"""Three grains at 128, 256 and 512 pixels, and images that are no squares: all stages, and then the trained model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

import d2it
from d2it.errors import UserError
from d2it.size import Size
from tests.smallest import changed, run_stages

pytestmark = pytest.mark.slow
THREE = [0.3, 0.4, 0.3]  # shares, coarsest first
SIZES: dict[str, dict[str, Any]] = {
    "128, factors from 4 on": {
        "data.image_size": 128, "grain.factors": [4, 8, 16], "grain.fine_ratio": THREE, "dvae.multipliers": [1, 2],
        "refinenet.window": 4,
    },
    "256, factors from 8 on": {
        "data.image_size": 256, "grain.factors": [8, 16, 32], "grain.fine_ratio": THREE, "refinenet.window": 4,
    },
    "512, factors from 8 on": {
        "data.image_size": 512, "grain.factors": [8, 16, 32], "grain.fine_ratio": THREE, "refinenet.window": 4,
    },
    "64 high, 96 wide": {"data.image_size": [64, 96], "refinenet.window": 4},
    "96 high, 64 wide, all in one window": {"data.image_size": [96, 64], "refinenet.window": "full"},
    "96 high, 64 wide, three grains": {
        "data.image_size": [96, 64], "grain.factors": [8, 16, 32], "grain.fine_ratio": THREE, "refinenet.window": 4,
    },
}  # fmt: skip


def write_photos(folder: Path, size: Size) -> None:
    """Two classes of pictures that are smooth on the left, and busy on the right."""
    rng = np.random.default_rng(0)
    for number in range(48):
        smooth = np.linspace(0, 4 * number, size.height).round().astype(np.uint8)[:, None, None]
        photo = np.broadcast_to(smooth, (*size, 3)).copy()
        busy = photo[:, size.width // 2 :]
        busy[:] = rng.integers(0, 256, busy.shape, np.uint8)
        path = folder / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(path)


LARGE = ("256, factors from 8 on", "512, factors from 8 on")


@pytest.mark.parametrize("size", [pytest.param(n, marks=[pytest.mark.exhaustive] * (n in LARGE)) for n in SIZES])
def test_all_stages_run_and_the_model_draws_reconstructs_and_takes_maps_of_ones_own(size: str, tmp_path: Path) -> None:
    params = changed(SIZES[size] | {"data.source": str(tmp_path / "photos")})
    write_photos(tmp_path / "photos", params.data.image_size)
    numbers = run_stages(params, tmp_path)
    shares = [numbers["encode_latents"][f"share_of_grain_{g + 1}"] for g in range(params.grain.grains)]
    assert shares == pytest.approx(params.grain.shares, abs=0.03)
    assert all(np.isfinite(value) for stage in numbers.values() for value in stage.values())
    YAML().dump(params.model_dump(mode="json"), tmp_path / "params.yaml")

    model = d2it.load(tmp_path / "outputs")
    pixels, regions = params.data.image_size, params.region_grid
    images, maps = model.sample([0, 1], 0, progress=False)
    assert {image.size for image in images} == {(pixels.width, pixels.height)}
    assert maps.shape == (2, *regions)
    stage = np.load(tmp_path / "outputs" / "sample" / "grain_maps.npy", allow_pickle=False)
    assert np.array_equal(maps[0], stage[0])
    painted = np.arange(regions.area).reshape(regions) % params.grain.grains
    by_array = model.sample(0, 0, grain_maps=painted, progress=False)
    assert np.array_equal(by_array.grain_maps[0], painted)
    kept = model.reconstruct(images[0])
    assert kept.size == images[0].size
    assert model.grain_map(images[0]).shape == regions
    assert model.denoise(0, 0, frames=2).shape == (2, 1, *pixels, 3)
    if params.grain.grains == 2:
        assert model.sample(0, 0, fine_ratio=0.5, progress=False).grain_maps.mean() == 0.5
        return
    with pytest.raises(UserError, match="fine_ratio is for models with two grains; this one has 3"):
        model.sample(0, 0, fine_ratio=0.5, progress=False)
